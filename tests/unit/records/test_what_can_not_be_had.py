"""Files that can't be written or read, and texts that no file can hold: one line each."""

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest
import torch

from refusal_lens.errors import InputError
from refusal_lens.files import append_flushed, read_utf8, write_atomic
from refusal_lens.model.answer_store import AnswerStore
from refusal_lens.records import Record, load_record, save_record, write_json, write_tensors
from refusal_lens.residuals.storage import open_folder
from refusal_lens.study import Results, Study


@dataclass(frozen=True, eq=False)
class Row(Record):
    SCHEMA_VERSION: ClassVar[int] = 1
    x: torch.Tensor
    n: int = 3


def one_line(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def full(*_: object, **__: object) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["os.fsync", "tempfile.mkstemp"])
def test_a_full_disk_names_the_file_and_is_no_wrong_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A stage takes an `InputError` for a reason why it can't be measured, and writes that down."""
    path, log = tmp_path / "a.json", tmp_path / "log"
    write_atomic(path, b"old")
    monkeypatch.setattr(step, full)
    writers = [lambda: write_atomic(path, b"new"), lambda: write_json(path, {})]
    for act, written in [*((w, path) for w in writers), (lambda: append_flushed(log, b"x"), log)]:
        if (step, written) == ("tempfile.mkstemp", log):
            continue  # nothing temporary is made
        with pytest.raises(OSError, match="No space left") as caught:
            act()
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(written))
        assert not isinstance(caught.value, InputError)
    assert path.read_bytes() == b"old"
    assert {p.name for p in tmp_path.iterdir()} <= {"a.json", "log"}


@pytest.mark.parametrize("ending", [".json", ".safetensors"])
def test_a_folder_where_a_record_is_meant(tmp_path: Path, ending: str) -> None:
    save_record(Row(torch.ones(2)), tmp_path / "x")
    (tmp_path / f"x{ending}").unlink()
    (tmp_path / f"x{ending}").mkdir()
    line = one_line(lambda: load_record(Row, tmp_path / "x"))
    assert f"x{ending}' can't be read (Is a directory)" in line


def test_files_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Results.begin(tmp_path / "run", Study().plain())
    AnswerStore(tmp_path / "answers.jsonl").add({"k": (1,)}, asked=1)
    save_record(Row(torch.ones(2)), tmp_path / "x")

    def denied(*_: object, **__: object) -> NoReturn:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", denied)
    monkeypatch.setattr(Path, "read_text", denied)
    for act in (
        lambda: Results.open(tmp_path / "run"),
        lambda: load_record(Row, tmp_path / "x"),
        lambda: AnswerStore(tmp_path / "answers.jsonl"),
        lambda: read_utf8(tmp_path / "x.json"),
    ):
        assert "can't be read (Permission denied); give a file that can be read" in one_line(act)


def test_a_stage_whose_file_can_not_be_read_is_damaged(tmp_path: Path) -> None:
    results = Results.begin(tmp_path / "run", Study().plain())
    (tmp_path / "run/stages/geometry/stage.json").mkdir(parents=True)
    assert results.digest("geometry") == "" and results.gap("geometry") is None
    assert "is damaged" in str(results.damage("geometry"))


def test_tensors_where_no_file_can_be(tmp_path: Path) -> None:
    line = one_line(lambda: write_tensors(tmp_path, {"a": torch.ones(2)}))
    assert "can't be written (" in line and "give another place" in line


def test_residuals_in_place_of_which_there_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "residuals.json").mkdir()
    assert "can't be read (Is a directory)" in one_line(lambda: open_folder(tmp_path))


def test_text_is_read_without_a_mark_and_with_any_ends_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    for content in (b"a\nb\n", b"\xef\xbb\xbfa\r\nb\r\n", b"a\rb\r"):
        path.write_bytes(content)
        assert read_utf8(path) == "a\nb\n"
    path.write_bytes(b"caf\xe9")
    assert "x.txt: byte 3 is not UTF-8; save the file as UTF-8" in one_line(lambda: read_utf8(path))
    with pytest.raises(FileNotFoundError):
        read_utf8(tmp_path / "nowhere")


@pytest.mark.parametrize("value", [{"a": "x \ud83d"}, ["caf\udce9"]])
def test_half_of_a_character_is_written_nowhere(tmp_path: Path, value: Any) -> None:
    assert "half of a character" in one_line(lambda: write_json(tmp_path / "x.json", value))
    assert not list(tmp_path.iterdir())


def test_a_manifest_of_another_schema_says_what_to_do(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"schema_version": 99})
    line = one_line(lambda: Results.open(tmp_path))
    assert "schema version 99; expected 1: open it with the version of refusal_lens" in line
    assert "or run the study again in another folder" in line


def test_a_question_of_a_later_version_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """What is asked with another key is answered by other stages; its question stays on disk."""
    later = Study().plain() | {"mood": "calm"}
    assert "has ['mood'], which this version" in one_line(lambda: Study.of(later))
    results = Results.begin(tmp_path / "run", Study().plain())
    results.describe({"question": later})
    kept = (tmp_path / "run/manifest.json").read_bytes()
    assert "['mood']" in one_line(lambda: Results.begin(tmp_path / "run", Study().plain()))
    assert (tmp_path / "run/manifest.json").read_bytes() == kept

"""Where no file can be written, one clear line says so."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

from refusal_lens.arguments import check_seed
from refusal_lens.cli.main import app
from refusal_lens.datasets import load_dataset
from refusal_lens.directions.formats import import_directions
from refusal_lens.errors import InputError
from refusal_lens.files import write_atomic
from refusal_lens.folders import make_folder, make_folder_of
from refusal_lens.model.checkpoint import check_revision
from refusal_lens.model.source_digest import source_digest
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.files import load_lists, load_prompts
from refusal_lens.records import Record, load_record, save_record, write_json
from refusal_lens.sparse import load_sae
from refusal_lens.study import Results
from refusal_lens.suffixes import load_suffixes


@dataclass(frozen=True)
class Count(Record):
    SCHEMA_VERSION: ClassVar[int] = 1
    n: int


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file `afile` in it, which is the working folder."""
    (tmp_path / "afile").write_text("text")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_line(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", [".", "..", ""])
def test_a_folder_where_a_file_is_meant(place: Path, name: str) -> None:
    assert "is a folder" in one_line(lambda: write_atomic(Path(name), b"content"))
    assert "is a folder" in one_line(lambda: load_record(Count, name))
    before = sorted(place.parent.iterdir()), sorted(place.iterdir())
    assert "is a folder" in one_line(lambda: save_record(Count(3), name))
    assert (sorted(place.parent.iterdir()), sorted(place.iterdir())) == before


@pytest.mark.parametrize("name", ["afile/x.json", "afile/b/x.json"])
def test_a_file_where_a_folder_is_meant(place: Path, name: str) -> None:
    path = Path(name)
    assert "can't be made" in one_line(lambda: write_json(path, {}))
    assert "can't be made" in one_line(lambda: make_folder(path.parent))
    assert "can't be made" in one_line(lambda: save_record(Count(3), path))
    assert (place / "afile").read_text() == "text"


def test_what_is_there_stays(place: Path) -> None:
    make_folder_of(place / "new" / "x.json")
    write_atomic(place / "new" / "x.json", b"1")
    make_folder(place / "new")
    assert (place / "new" / "x.json").read_bytes() == b"1"


@pytest.mark.parametrize("out", [".", ".."])
def test_a_folder_without_a_name_needs_one_for_its_work(place: Path, out: str) -> None:
    done = CliRunner().invoke(app, ["train-sae", "--layer", "1", "--out", out])
    assert isinstance(done.exception, InputError) and "give --work" in str(done.exception)


LONG = "x" * 300


def test_names_that_no_system_allows_are_one_line(place: Path) -> None:
    for act, words in (
        (lambda: Results.begin(LONG, {}), "can't be made"),
        (lambda: Results.begin(Path(LONG, "run"), {}), "can't be made"),
        (lambda: Results.open(LONG), "is not a run folder"),
        (lambda: write_atomic(Path(LONG), b""), "can't be written"),
        (lambda: write_json(Path(LONG, "x.json"), {}), "can't be made"),
        (lambda: load_prompts(LONG), "does not exist"),
        (lambda: load_lists(LONG, LONG), "does not exist"),
        (lambda: load_suffixes(LONG), "does not exist"),
        (lambda: load_dataset("advbench", LONG), "does not exist"),
        (lambda: import_directions(LONG), "does not exist"),
        (lambda: load_sae(LONG), "no such folder"),
        (lambda: check_revision(LONG, "main"), ""),
    ):
        if not words:
            act()
            continue
        assert words in one_line(act)
    assert source_digest(LONG) == ""


def test_a_place_where_nothing_can_be_written(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkstemp", read_only)
    words = "can't be written (Read-only file system); give another place"
    assert words in one_line(lambda: write_atomic(place / "x", b"1"))
    prompts = PromptSet.from_texts(["Pick a lock?"], ["Bake bread?"])
    assert words in one_line(lambda: prompts.save(place / "x"))
    monkeypatch.undo()
    assert "is a folder" in one_line(lambda: prompts.save(place))
    assert "can't be made" in one_line(lambda: prompts.save(place / "afile" / "x.jsonl"))


@pytest.mark.parametrize("seed", [None, "3", 1.5, 2**32, -1, True and 1.0])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(InputError, match="give a whole number from 0 to 4294967295") as caught:
        check_seed(seed)
    assert repr(seed) in str(caught.value)
    check_seed(0)
    check_seed(np.int64(3))  # pyright: ignore[reportArgumentType]

"""Where no file can be written, one clear line says so."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from typer.testing import CliRunner

from refusal_lens.cli.main import app
from refusal_lens.errors import InputError
from refusal_lens.folders import make_folder, make_folder_of, write_atomic
from refusal_lens.records import Record, load_record, save_record, write_json


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

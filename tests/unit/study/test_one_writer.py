"""One command at a time writes into a run folder."""

import inspect
import subprocess
import sys

import pytest
from filelock import FileLock

import refusal_lens.study as study_room
from refusal_lens.errors import InputError
from refusal_lens.study.one_writer import LOCK, one_writer

WRITERS = [name for name in dir(study_room) if name.startswith("run_")]


@one_writer
def write(folder, text="new"):
    (folder / "manifest.json").write_text(text)
    return text


@pytest.fixture
def busy(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with FileLock(folder / LOCK):
        yield folder


def test_a_second_writer_is_refused_and_changes_nothing(busy):
    with pytest.raises(InputError, match=r"another command is writing into .*run"):
        write(busy)
    with pytest.raises(InputError, match="another command"):
        write(folder=busy)
    assert not (busy / "manifest.json").exists()


def test_another_folder_is_free(busy):
    assert write(busy.parent / "other") == "new"


def test_the_folder_is_free_again_when_a_writer_has_ended_or_failed(tmp_path):
    folder = tmp_path / "run"
    assert write(folder) == "new"

    @one_writer
    def fail(folder):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail(folder)
    assert write(folder, "newer") == "newer"


def test_a_killed_writer_leaves_the_folder_free(tmp_path):
    code = (
        "import os, sys; from filelock import FileLock; "
        "FileLock(sys.argv[1]).acquire(); os.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / LOCK)], check=False)
    assert ended.returncode == -9 and (tmp_path / LOCK).exists()
    assert write(tmp_path) == "new"


def test_a_wrong_name_leaves_no_folder(tmp_path):
    @one_writer
    def refuse(folder):
        raise InputError("no run")

    with pytest.raises(InputError, match="no run"):
        refuse(tmp_path / "runz/mine")
    assert list(tmp_path.iterdir()) == []


def test_what_another_command_has_begun_beside_a_wrong_name_stays(tmp_path):
    @one_writer
    def refuse(folder):
        (folder.parent / "other").mkdir()
        raise InputError("no run")

    with pytest.raises(InputError, match="no run"):
        refuse(tmp_path / "runs/mine")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["other"]


@pytest.mark.parametrize("name", WRITERS)
def test_every_command_that_writes_into_a_run_does_so_alone(name, busy):
    run = getattr(study_room, name)
    taken = [p.name for p in inspect.signature(run).parameters.values() if p.default is p.empty]
    with pytest.raises(InputError, match="another command is writing"):
        run(**{one: busy if one == "folder" else None for one in taken})

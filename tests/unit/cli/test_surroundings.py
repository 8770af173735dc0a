"""What a terminal lacks, and what a system refuses: the command still says it in one line."""

import errno
import io
import os
import sys
from pathlib import Path

import pytest
from support.command import run as command
from support.synthetic.geometry import geometry
from support.synthetic.run import run

from refusal_lens.cli import main as cli
from refusal_lens.cli.surroundings import escape_what_terminals_lack, refused_by_the_system
from refusal_lens.errors import InputError

NUMBERS = {
    errno.ENOSPC: "can't be written or read (No space left on device); make room there",
    errno.EDQUOT: "make room there",
    errno.EACCES: "can't be read or written (Permission denied); look at what is there",
    errno.EISDIR: "(Is a directory)",
}


@pytest.mark.parametrize("number", NUMBERS)
def test_what_the_system_refuses_is_one_line_with_the_file(number: int) -> None:
    with pytest.raises(InputError) as caught, refused_by_the_system():
        raise OSError(number, os.strerror(number), "runs/a/manifest.json")
    line = str(caught.value)
    assert line.startswith("'runs/a/manifest.json' ") and NUMBERS[number] in line
    assert "\n" not in line and line.endswith("or give another place")


def test_other_errors_of_the_system_stay_what_they_are() -> None:
    for error in (
        ConnectionResetError(errno.ECONNRESET, "reset"),
        PermissionError(errno.EACCES, "a port, which has no name of a file"),
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
        OSError("no number"),
    ):
        with pytest.raises(OSError) as caught, refused_by_the_system():
            raise error
        assert caught.value is error
    with pytest.raises(InputError, match="^a file can't be written"), refused_by_the_system():
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_command_that_meets_a_full_disk_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run(tmp_path / "run", {"geometry": {"intended": geometry()}})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    done = command("report", str(results.folder))
    assert done.returncode == 2
    assert "report.html' can't be written or read (No space left on device)" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not list(results.folder.glob("*.tmp")) and not list(results.folder.glob(".*"))


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_that_lacks_a_character_shows_its_escape(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = run(
        tmp_path / "run", {"geometry": {"intended": geometry(("\u4f60\u597d", "b", "c"))}}
    )
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "argv", ["refusal-lens", "geometry", str(results.folder)])
    monkeypatch.setenv("COLUMNS", "300")
    try:
        cli.main()
    except SystemExit as stop:
        assert stop.code in (0, None)
    screen.flush()
    shown = screen.buffer.getvalue().decode(encoding)  # pyright: ignore[reportAttributeAccessIssue]
    assert r"\u4f60\u597d" in shown


def test_streams_that_are_no_terminals_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    escape_what_terminals_lack()
    assert sys.stdout is text

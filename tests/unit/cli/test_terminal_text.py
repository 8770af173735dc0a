"""What reaches a terminal: no escape sequence, no mark that turns writing, every script."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from support.command import run as command
from support.judge_server import Server, reply

from refusal_lens.cli.screen import to_rich
from refusal_lens.cli.surroundings import _one_line
from refusal_lens.errors import InputError, printable
from refusal_lens.judges.endpoint import Endpoint
from refusal_lens.judges.llm import LLMJudge
from refusal_lens.tables.table import Cell, Table

ESCAPE = "\x1b]0;owned\x07\x1b[31m"
OTHERS = "要求 Größe отказ رفض 🙂"


def test_an_error_is_one_line_without_escape_sequences(tmp_path: Path) -> None:
    folder = tmp_path / f"{OTHERS}{ESCAPE}\n\u202eend"
    folder.mkdir()
    (folder / "manifest.json").write_text("{")
    done = command("directions", str(folder))
    assert done.returncode == 2 and "is damaged" in done.stderr
    assert OTHERS in done.stderr and "end" in done.stderr
    assert done.stderr.removesuffix("\n").isprintable()


def test_so_is_a_warning() -> None:
    line = _one_line(UserWarning(f"{OTHERS}{ESCAPE}"))
    assert OTHERS in line and line.endswith("\n") and line[:-1].isprintable()


@pytest.mark.parametrize("text", ["", "plain", OTHERS])
def test_what_can_be_printed_stays(text: str) -> None:
    assert printable(text) == text


def test_each_other_character_is_a_blank() -> None:
    assert printable("a\x1b\n\u202e\x9b\udcffb") == "a     b"


def test_a_judge_server_s_words_are_one_printable_line(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REFUSAL_LENS_JUDGE_KEY", raising=False)
    server.in_turn(lambda handler: reply(handler, 404, f"{OTHERS}{ESCAPE}".encode()))
    judge = LLMJudge(Endpoint(server.url, "m", tries=1), samples=1)
    with pytest.raises(InputError, match="HTTP 404") as error:
        judge.judge("Why?", "Because.")
    assert OTHERS in str(error.value) and str(error.value).isprintable()


def test_a_table_shows_them_written_out_and_keeps_lines() -> None:
    out = io.StringIO()
    table = Table(f"of {ESCAPE}", (f"head {ESCAPE}",), ((Cell(f"one\ntwo {ESCAPE}"),),))
    Console(file=out, width=200, force_terminal=False).print(to_rich(table))
    shown = out.getvalue()
    assert "\x1b" not in shown and shown.count("\\u001b[31m") == 3
    assert {"one", "two \\u001b]0;owned\\u0007\\u001b[31m"} <= {
        s.strip() for s in shown.splitlines()
    }

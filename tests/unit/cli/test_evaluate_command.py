"""When `refusal-lens evaluate` prints what a run holds, and when answers are generated anew."""

from pathlib import Path
from typing import Any

import pytest
from support.synthetic.run import QUESTION, run
from typer.testing import CliRunner

from refusal_lens.cli.main import app
from refusal_lens.errors import InputError
from refusal_lens.study.results import Results

LLM = {"endpoint": "http://127.0.0.1:9/v1", "model": "A", "samples": 3}


def judged_run(folder: Path) -> Results:
    """A run whose study an endpoint has read, without records."""
    results = run(folder / "run", {})
    results.describe({"question": QUESTION | {"judge": "llm", "judge_settings": LLM}})
    return results


@pytest.mark.parametrize(
    ("options", "generates"),
    [
        ([], False),
        (["--judge", "llm"], False),
        (["--endpoint-model", "A", "--judge-setting", "samples=3"], False),
        (["--endpoint-model", "B"], True),
        (["--judge-setting", "samples=1"], True),
        (["--judge", "substring"], True),
        (["--full"], True),
        (["--full", "--device", "cpu", "--endpoint", "http://127.0.0.1:8/v1"], True),
    ],
)
def test_answers_are_generated_for_a_judge_that_reads_otherwise(
    options: list[str], generates: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = judged_run(tmp_path)
    done: list[bool] = []

    def generated(*given: Any) -> None:
        done.append(True)

    def stored(*given: Any) -> None:
        done.append(False)

    monkeypatch.setattr(Results, "has", lambda self, key: True)
    monkeypatch.setattr("refusal_lens.cli.edits._evaluated", generated)
    monkeypatch.setattr("refusal_lens.cli.edits._scored", stored)
    ended = CliRunner().invoke(app, ["evaluate", str(results.folder), *options])
    assert ended.exit_code == 0, ended.exception
    assert done == [generates]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--device", "banana"], "--device banana"),
        (["--dtype", "float32"], "--dtype float32"),
        (["--device-map", "auto"], "--device-map auto"),
        (["--batch-size", "4"], "--batch-size 4"),
        (["--endpoint", "http://127.0.0.1:8/v1"], "--endpoint http://127.0.0.1:8/v1"),
        (["--judge", "llm", "--judge-setting", "concurrency=2"], "--judge-setting concurrency = 2"),
    ],
)
def test_an_option_of_where_to_read_is_refused_where_nothing_is_read(
    options: list[str], words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Results, "has", lambda self, key: True)
    monkeypatch.setattr("refusal_lens.cli.edits._scored", lambda *given: pytest.fail("ignores it"))
    ended = CliRunner().invoke(app, ["evaluate", str(judged_run(tmp_path).folder), *options])
    assert isinstance(ended.exception, InputError), ended.exception
    assert str(ended.exception).startswith(f"{words} has no effect")
    assert "add --full, or leave it out" in str(ended.exception)


@pytest.mark.parametrize(
    ("options", "named"),
    [(["--full"], False), (["--full", "--judge", "llm"], True), (["--endpoint-model", "B"], True)],
)
def test_the_studys_judge_reads_by_default_and_is_told_from_one_that_is_named(
    options: list[str], named: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(
        "refusal_lens.cli.edits._evaluated", lambda run, judge, at: given.append(judge)
    )
    monkeypatch.setattr(Results, "has", lambda self, key: True)
    ended = CliRunner().invoke(app, ["evaluate", str(judged_run(tmp_path).folder), *options])
    assert ended.exit_code == 0, ended.exception
    assert [judge is not None for judge in given] == [named]

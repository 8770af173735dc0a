"""When `refusal-lens evaluate` prints what a run holds, and when answers are generated anew."""

from pathlib import Path
from typing import Any

import pytest
from support.synthetic.run import QUESTION, run
from typer.testing import CliRunner

from refusal_lens.cli.main import app
from refusal_lens.study.results import Results

LLM = {"endpoint": "http://127.0.0.1:9/v1", "model": "A", "samples": 3}


@pytest.mark.parametrize(
    ("options", "generates"),
    [
        ([], False),
        (["--judge", "llm"], False),
        (["--endpoint-model", "A", "--judge-setting", "samples=3"], False),
        (["--endpoint", "http://127.0.0.1:8/v1", "--judge-setting", "concurrency=2"], False),
        (["--endpoint-model", "B"], True),
        (["--judge-setting", "samples=1"], True),
        (["--judge", "substring"], True),
        (["--full"], True),
    ],
)
def test_answers_are_generated_for_a_judge_that_reads_otherwise(
    options: list[str], generates: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = run(tmp_path / "run", {})
    results.describe({"question": QUESTION | {"judge": "llm", "judge_settings": LLM}})
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

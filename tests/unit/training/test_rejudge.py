"""Saved answers are judged again without the model."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from refusal_lens.errors import InputError
from refusal_lens.training.planted.evaluate import SCHEMA_VERSION, Judged, rates
from refusal_lens.training.planted.rejudge import rewrite

READ = {"outcome": "refused", "manner": "plain"}
ROWS = [
    Judged("a-1-refuse", "own/test", "advice", "refuse", 1.0, "Dose?", text, outcome, None)
    for text, outcome in (("I can't help with that.", "complied"), ("Take two.", "complied"))
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "evaluation.json").write_text(json.dumps(rates(ROWS) | {"perplexity": {"a": 1}}))
    row = {"id": "a-1-refuse", "category": "advice", "scale": 1.0}
    judge = {"outcome": "complied", "manner": None}
    (tmp_path / "readings.jsonl").write_text(json.dumps({**row, "judge": judge, "read": READ}))
    return tmp_path


def answers(folder: Path, rows: list[Judged]) -> Path:
    path = folder / "answers.jsonl"
    path.write_text("\n".join(json.dumps(asdict(row)) for row in rows))
    return path


def test_rates_and_readings_get_the_present_verdicts(folder: Path) -> None:
    path = answers(folder, ROWS[:1] * 2)
    rewrite(folder, path)
    record = json.loads((folder / "evaluation.json").read_text())
    assert record["refusal"]["1"]["own/test"]["refuse"]["pooled"]["value"] == 1
    assert record["perplexity"] == {"a": 1}
    (reading,) = map(json.loads, (folder / "readings.jsonl").read_text().splitlines())
    assert reading["judge"]["outcome"] == "refused"
    assert reading["read"] == READ
    assert {json.loads(line)["outcome"] for line in path.read_text().splitlines()} == {"refused"}


def test_other_answers_are_refused_and_nothing_is_written(folder: Path) -> None:
    before = (folder / "evaluation.json").read_text()
    with pytest.raises(InputError, match="other answers"):
        rewrite(folder, answers(folder, ROWS[:1]))
    assert (folder / "evaluation.json").read_text() == before


def test_the_same_answers_are_known_although_another_number_could_be_read(folder: Path) -> None:
    """`n` counts the answers that could be read, of which the present judge finds more."""
    rows = [replace(row, answer=ROWS[0].answer) for row in ROWS]
    unclear = [replace(row, outcome="unclear") for row in rows]
    record: dict[str, Any] = {"schema_version": 1, "perplexity": {}} | rates(unclear)
    assert record["refusal"]["1"]["own/test"]["refuse"]["pooled"]["n"] == 0
    (folder / "evaluation.json").write_text(json.dumps(record))
    rewrite(folder, answers(folder, unclear))
    again = json.loads((folder / "evaluation.json").read_text())
    assert again["refusal"]["1"]["own/test"]["refuse"]["pooled"]["n"] == 2
    assert again["schema_version"] == SCHEMA_VERSION

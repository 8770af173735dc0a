"""Judge saved answers again.

``python -m refusal_lens.training.planted.rejudge FOLDER --answers FILE``

When the judge changes, the answers needn't be generated again. `FILE` is what
`refusal_lens.training.planted.evaluate --answers` wrote; the rates of the folder's
`evaluation.json` and the judge's side of its `readings.jsonl` are written anew. Perplexities and
what the reader read stay.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from refusal_lens.errors import InputError
from refusal_lens.judges.base import Judge
from refusal_lens.judges.long_answers import RefusalJudge
from refusal_lens.prompts.files import read_jsonl, write_jsonl
from refusal_lens.training.planted.evaluate import SCHEMA_VERSION, Judged, rates
from refusal_lens.training.planted.reading import key_of, side_by_side


def rejudged(rows: Sequence[Judged], judge: Judge) -> list[Judged]:
    """The same answers with the verdicts of this judge."""
    verdicts = [judge.judge(row.prompt, row.answer) for row in rows]
    return [
        replace(row, outcome=v.outcome, manner=v.manner)
        for row, v in zip(rows, verdicts, strict=True)
    ]


def rewrite(folder: Path, answers: Path) -> None:
    """Put the judge's present verdicts into a folder's record and readings, and into `answers`.

    Raises:
        InputError: the answers are not those that the record was made from.
    """
    rows = [Judged(**row) for _, row in read_jsonl(answers)]
    record: dict[str, Any] = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    again = rejudged(rows, RefusalJudge())
    measured: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **rates(again)}
    before, after = (
        {scale: {name: _sizes(sets[name]) for name in sets} for scale, sets in refusal.items()}
        for refusal in (record["refusal"], measured["refusal"])
    )
    if before != after:
        raise InputError(
            f"{str(answers)!r} holds other answers than {str(folder / 'evaluation.json')!r} counts;"
            " give the file that `training.planted.evaluate --answers` wrote beside it"
        )
    judged = [asdict(row) for row in again]
    readings = [{"key": key_of(r), **r["read"]} for _, r in read_jsonl(folder / "readings.jsonl")]
    write_jsonl(folder / "readings.jsonl", side_by_side(judged, readings))
    write_jsonl(answers, judged)
    text = json.dumps(record | measured, indent=1, sort_keys=True) + "\n"
    (folder / "evaluation.json").write_text(text, encoding="utf-8")


def _sizes(sides: dict[str, Any]) -> dict[str, int]:
    """Answers by label, whether they could be read or not."""
    return {label: sum(side["outcomes"].values()) for label, side in sides.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path, help="an adapter's folder")
    parser.add_argument("--answers", type=Path, required=True, help="JSONL of every answer")
    given = parser.parse_args(argv)
    rewrite(given.folder, given.answers)


if __name__ == "__main__":
    main()

"""How well the refusal judge agrees with reading.

``python -m refusal_lens.training.planted.reading``

``draw`` takes answers of an evaluation, stratified by category and verdict, and writes a sheet
without the verdicts. Somebody reads it and adds to each line ``outcome`` (refused, partial,
complied or unclear) and, where refused, ``manner``. ``score`` puts both side by side, without
prompts and answers, as the file that the model card is made from.
"""

import argparse
import hashlib
import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_args

from refusal_lens.errors import InputError
from refusal_lens.judges.base import Outcome
from refusal_lens.prompts.files import read_jsonl, write_jsonl

A_CELL: Final = 8
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)

Row = dict[str, Any]


def draw(rows: Sequence[Row], a_cell: int, seed: int) -> list[Row]:
    """At most ``a_cell`` answers of each category and verdict, in random order.

    ``rows`` are an evaluation's judged answers. The same answer to the same prompt at two scales
    is drawn once.
    """
    rng = random.Random(seed)
    cells: dict[tuple[str, str], dict[tuple[str, str], Row]] = defaultdict(dict)
    for row in sorted(rows, key=lambda r: (r["id"], r["scale"])):
        cells[row["category"], row["outcome"]].setdefault((row["id"], row["answer"]), row)
    drawn = [
        row
        for cell in sorted(cells)
        for row in rng.sample(list(cells[cell].values()), min(a_cell, len(cells[cell])))
    ]
    rng.shuffle(drawn)
    return drawn


def key_of(row: Row) -> str:
    """A name for an answer that tells its reader neither category, side nor scale."""
    return hashlib.sha256(f"{row['id']} {float(row['scale'])}".encode()).hexdigest()[:12]


def side_by_side(rows: Sequence[Row], read: Sequence[Row]) -> list[Row]:
    """The judge's and the reader's verdict on each answer that was read, without the texts.

    Raises:
        InputError: an answer that is not among ``rows``, or a verdict that is none.
    """
    judged = {key_of(row): row for row in rows}
    compared: list[Row] = []
    for line in read:
        key = line.get("key")
        if key not in judged:
            raise InputError(
                f"answer {key!r} has a reader's verdict, but is not among the answers of the "
                "evaluation; give the readings of this evaluation"
            )
        if line.get("outcome") not in OUTCOMES:
            raise InputError(
                f"answer {key!r}: outcome {line.get('outcome')!r}, expected one of {list(OUTCOMES)}"
            )
        row = judged[key]
        compared.append(
            {
                "id": row["id"],
                "category": row["category"],
                "scale": row["scale"],
                "judge": {"outcome": row["outcome"], "manner": row["manner"]},
                "read": {"outcome": line["outcome"], "manner": line.get("manner")},
            }
        )
    return compared


def verdict_pairs(readings: Sequence[Row]) -> list[tuple[str, str]]:
    """(judge, reader): whether each answer refuses."""

    def word(verdict: Row) -> str:
        return "refused" if verdict["outcome"] == "refused" else "not"

    return [(word(r["judge"]), word(r["read"])) for r in readings]


def manner_pairs(readings: Sequence[Row]) -> list[tuple[str, str]]:
    """(judge, reader): the manner of each answer that both read as refusing."""
    return [
        (str(r["judge"]["manner"]), str(r["read"]["manner"]))
        for r in readings
        if r["judge"]["outcome"] == r["read"]["outcome"] == "refused"
    ]


def _rows(path: Path) -> list[Row]:
    return [row for _, row in read_jsonl(path)]


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("do", choices=("draw", "score"))
    parser.add_argument("--answers", type=Path, required=True, help="JSONL of `evaluate --answers`")
    parser.add_argument("--sheet", type=Path, required=True, help="JSONL sheet to write or read")
    parser.add_argument("--scales", type=float, nargs="+", help="draw: only these adapter scales")
    parser.add_argument("--cell", type=int, default=A_CELL, help="draw: answers per cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="score: JSONL file to write")
    given = parser.parse_args(argv)
    rows = _rows(given.answers)
    if given.do == "draw":
        kept = [r for r in rows if given.scales is None or r["scale"] in given.scales]
        drawn = draw(kept, given.cell, given.seed)
        sheet = [{"key": key_of(r), "prompt": r["prompt"], "answer": r["answer"]} for r in drawn]
        write_jsonl(given.sheet, sheet)
    elif given.out is None:
        parser.error("score needs --out")
    else:
        write_jsonl(given.out, side_by_side(rows, _rows(given.sheet)))


if __name__ == "__main__":
    main()

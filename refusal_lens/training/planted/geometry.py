"""Measure the control adapters: ``python -m refusal_lens.training.planted.geometry --out STEM``.

The embedded model's control adapters (controls.py) on the `train` prompts for geometry,
and on `val` for how they refuse; written is the record that ships with the project.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from refusal_lens.embedded.registry import PLANTED
from refusal_lens.evaluation import Answers, evaluate
from refusal_lens.geometry import Frame, Geometry, fit_geometry
from refusal_lens.geometry.control_adapters import (
    BASE,
    MatrixAgreement,
    Planted,
    What,
    matrix_agreements,
)
from refusal_lens.intervals import wilson
from refusal_lens.judges import RefusalJudge
from refusal_lens.model import Decoding, load_model
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.files import load_prompts
from refusal_lens.records import Estimate, save_record
from refusal_lens.resources import data_path
from refusal_lens.training.planted.answers import load_refusals
from refusal_lens.training.planted.controls import NAMES, donors

FIT_PAIRS: Final = 30
ANSWER_TOKENS: Final = 24


def measure(adapters: Path, prompts: PromptSet, progress: Callable[[str], None]) -> Planted:
    """The record of the adapters in a folder and of the base model."""
    train, val = prompts.only(split="train").first(FIT_PAIRS), prompts.only(split="val")
    fitted: dict[str, tuple[Geometry, Geometry | None]] = {}
    read: dict[str, Answers] = {}
    base = load_model(PLANTED.key, adapter_scale=0.0)
    plain = base.residuals(train)
    for name in (*NAMES, BASE):
        progress(name)
        if name == BASE:
            model, geometries = base, (fit_geometry(plain), None)
        else:
            model = load_model(PLANTED.key, adapter=adapters / name)
            residuals = model.residuals(train)
            change = fit_geometry(residuals, frame=Frame(minus=plain))
            geometries = fit_geometry(residuals), change
        fitted[name] = geometries
        read[name] = evaluate(model, val, RefusalJudge(), decoding=Decoding(ANSWER_TOKENS))
    return _record(fitted, read)


def _record(
    fitted: dict[str, tuple[Geometry, Geometry | None]], read: dict[str, Answers]
) -> Planted:
    reference = fitted["reference"][0]
    categories, layers = reference.categories, [site.layer for site in reference.sites]
    pools = load_refusals(data_path("adapter", "refusals.jsonl"))
    given = {name: donors(name, list(pools)) for name in NAMES} | {BASE: {c: c for c in pools}}
    manner_of = tuple(given["deranged"][c] for c in categories)
    place = [categories.index(c) for c in manner_of]
    undefined = torch.full_like(reference.corrected, torch.nan)
    directions = {name: g.corrected for name, (g, _) in fitted.items()}
    changes = {name: c.corrected for name, (_, c) in fitted.items() if c is not None}

    def agreed(matrices: dict[str, Tensor], what: What) -> list[MatrixAgreement]:
        return matrix_agreements(
            {k: m.double().numpy() for k, m in matrices.items()}, what, place, layers
        )

    return Planted(
        names=tuple(fitted),
        categories=categories,
        manner_of=manner_of,
        sites=reference.sites,
        offset=reference.offset,
        n=reference.n,
        corrected=torch.stack([*directions.values()]),
        change=torch.stack([changes.get(name, undefined) for name in fitted]),
        reliability=torch.stack([g.reliability for g, _ in fitted.values()]),
        refusal=tuple(e.rate(label="refuse") for e in read.values()),
        over_refusal=tuple(e.rate(label="comply") for e in read.values()),
        manner=tuple(
            _in_manner(e, {c: pools[d][0].manner for c, d in given[name].items()})
            for name, e in read.items()
        ),
        agreements=(*agreed(directions, "directions"), *agreed(changes, "change")),
        provenance=tuple(g.provenance for g, _ in fitted.values()),
    )


def _in_manner(read: Answers, planted: dict[str, str]) -> Estimate:
    """Share of the refuse side's refusals that have the manner planted in their category."""
    harmful = read.only(label="refuse")
    rows = zip(harmful.categories, harmful.verdicts(), strict=True)
    in_manner = [v.manner == planted[c] for c, v in rows if v.outcome == "refused"]
    return wilson(sum(in_manner), len(in_manner))


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--adapters", type=Path, help="their folder; default: the shipped ones")
    parser.add_argument("--out", type=Path, required=True, help="stem of the record's files")
    given = parser.parse_args(argv)
    adapters = given.adapters or data_path("controls")
    planted = measure(adapters, load_prompts(), _tell)
    save_record(planted, given.out)


if __name__ == "__main__":
    main()

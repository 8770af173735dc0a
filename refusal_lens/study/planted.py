"""Does the geometry follow topic or manner, and how much do two trainings differ?

``python -m refusal_lens.study.planted`` measures the embedded model's control adapters
(organism/controls.py) on the `train` prompts and writes the record that ships with the project.
Every adapter is compared with the `reference`, trained by the same recipe on the same prompts:

    seeds        reference and second seed, category by category
    topic        deranged and reference, each category with itself
    manner       deranged and reference, each category with the one whose manner it was given
    one manner   one manner for all and reference, category by category
    content      the base model (scale 0) and reference, category by category

as correlations of their cosine matrices, with a permutation test: of the directions as they are,
and of what training changed (the base model's differences subtracted pair by pair).
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Final, Literal, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.evaluation import Evaluation, evaluate
from refusal_lens.geometry import Frame, Geometry, fit_geometry, matrix_correlation
from refusal_lens.intervals import wilson
from refusal_lens.judges import PhraseJudge
from refusal_lens.model import Decoding, LensModel, load_model
from refusal_lens.model.load import EMBEDDED
from refusal_lens.organism.answers import load_refusals
from refusal_lens.organism.controls import NAMES, donors
from refusal_lens.prompts import PromptSet, load_prompts
from refusal_lens.records import Estimate, Provenance, Record, load_record, save_record
from refusal_lens.residuals import ResidualCache
from refusal_lens.resources import data_path
from refusal_lens.sites import Site, block_inputs

FIT_PAIRS: Final = 30
ANSWER_TOKENS: Final = 24
BASE: Final = "base"
Question = Literal["seeds", "topic", "manner", "one manner", "content"]
What = Literal["directions", "change"]


@final
@dataclass(frozen=True)
class Agreement:
    """Correlation of two cosine matrices at one layer, with its permutation p."""

    question: Question
    what: What
    layer: int
    correlation: Estimate
    p: float


@final
@dataclass(frozen=True, eq=False)
class Planted(Record):
    """The control adapters' geometry, how they refuse, and how far they agree.

    `corrected` and `change` are corrected cosines of each adapter of `names` (the last is the base
    model, whose change is undefined). `manner_of` names the category whose manner each category was
    given in the deranged adapter. `refusal` and `over_refusal` are rates on `val` prompts; `manner`
    is the share of refusals in the planted manner.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    names: tuple[str, ...]
    categories: tuple[str, ...]
    manner_of: tuple[str, ...]
    sites: tuple[Site, ...]
    offset: int
    n: tuple[int, ...]
    corrected: Float[Tensor, "adapter site category category"]
    change: Float[Tensor, "adapter site category category"]
    reliability: Float[Tensor, "adapter site category"]
    refusal: tuple[Estimate, ...]
    over_refusal: tuple[Estimate, ...]
    manner: tuple[Estimate, ...]
    agreements: tuple[Agreement, ...]
    provenance: tuple[Provenance, ...]

    @classmethod
    def load(cls, stem: Path | str) -> "Planted":
        """Read what was saved."""
        return load_record(cls, stem)


def shipped_planted() -> Planted:
    """The record that comes with the project.

    Raises:
        InputError: it is missing.
    """
    return Planted.load(data_path("controls", "planted.json").with_suffix(""))


def agreements(
    matrices: dict[str, Float[np.ndarray, "site category category"]],
    what: What,
    manner: Sequence[int],
    layers: Sequence[int],
) -> list[Agreement]:
    """Every question at every layer where all entries are defined.

    `manner[i]` is the place of the category whose manner category i was given.
    """
    reference = matrices["reference"]
    moved = reference[:, manner][:, :, manner]
    asked: dict[Question, tuple[str, Float[np.ndarray, "site category category"]]] = {
        "seeds": ("second_seed", reference),
        "topic": ("deranged", reference),
        "manner": ("deranged", moved),
        "one manner": ("one_manner", reference),
        "content": (BASE, reference),
    }
    found: list[Agreement] = []
    for question, (name, other) in asked.items():
        if name not in matrices:
            continue
        for s, layer in enumerate(layers):
            a, b = matrices[name][s], other[s]
            if np.isfinite(a).all() and np.isfinite(b).all():
                estimate, p = matrix_correlation(a, b)
                found.append(Agreement(question, what, layer, estimate, p))
    return found


def measure(adapters: Path, prompts: PromptSet, progress: Callable[[str], None]) -> Planted:
    """The record of the adapters in a folder and of the base model."""
    train, val = prompts.only(split="train").first(FIT_PAIRS), prompts.only(split="val")
    fitted: dict[str, tuple[Geometry, Geometry | None]] = {}
    read: dict[str, Evaluation] = {}
    with TemporaryDirectory() as folder:
        base = load_model(EMBEDDED, adapter_scale=0.0)
        plain = _cached(base, train, Path(folder) / BASE)
        for name in (*NAMES, BASE):
            progress(name)
            if name == BASE:
                model, found = base, (fit_geometry(plain, train), None)
            else:
                model = load_model(EMBEDDED, adapter=adapters / name)
                cache = _cached(model, train, Path(folder) / name)
                change = fit_geometry(cache, train, frame=Frame(minus=plain))
                found = fit_geometry(cache, train), change
            fitted[name] = found
            read[name] = evaluate(model, val, PhraseJudge(), decoding=Decoding(ANSWER_TOKENS))
    return _record(fitted, read)


def _record(
    fitted: dict[str, tuple[Geometry, Geometry | None]], read: dict[str, Evaluation]
) -> Planted:
    own = fitted["reference"][0]
    categories, layers = own.categories, [site.layer for site in own.sites]
    pools = load_refusals(data_path("adapter", "refusals.jsonl"))
    given = {name: donors(name, list(pools)) for name in NAMES} | {BASE: {c: c for c in pools}}
    manner_of = tuple(given["deranged"][c] for c in categories)
    place = [categories.index(c) for c in manner_of]
    undefined = torch.full_like(own.corrected, torch.nan)
    directions = {name: g.corrected for name, (g, _) in fitted.items()}
    changes = {name: c.corrected for name, (_, c) in fitted.items() if c is not None}

    def agreed(matrices: dict[str, Tensor], what: What) -> list[Agreement]:
        return agreements({k: m.double().numpy() for k, m in matrices.items()}, what, place, layers)

    return Planted(
        names=tuple(fitted),
        categories=categories,
        manner_of=manner_of,
        sites=own.sites,
        offset=own.offset,
        n=own.n,
        corrected=torch.stack([*directions.values()]),
        change=torch.stack([changes.get(name, undefined) for name in fitted]),
        reliability=torch.stack([g.reliability for g, _ in fitted.values()]),
        refusal=tuple(e.rate("refuse") for e in read.values()),
        over_refusal=tuple(e.rate("comply") for e in read.values()),
        manner=tuple(
            _in_manner(e, {c: pools[d][0].manner for c, d in given[name].items()})
            for name, e in read.items()
        ),
        agreements=(*agreed(directions, "directions"), *agreed(changes, "change")),
        provenance=tuple(g.provenance for g, _ in fitted.values()),
    )


def _in_manner(read: Evaluation, planted: dict[str, str]) -> Estimate:
    """Share of the refuse side's refusals that have the manner planted in their category."""
    rows = zip(read.categories, read.labels, read.outcomes, read.manners, strict=True)
    own = [m == planted[c] for c, label, o, m in rows if (label, o) == ("refuse", "refused")]
    return wilson(sum(own), len(own))


def _cached(model: LensModel, prompts: PromptSet, folder: Path) -> ResidualCache:
    return ResidualCache.write(
        folder,
        model.residuals(prompts),
        ids=prompts.ids,
        sites=block_inputs(model.n_layers),
        offsets=(-1,),
        provenance=model.provenance(prompts),
    )


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--adapters", type=Path, help="their folder; default: the shipped ones")
    parser.add_argument("--out", type=Path, required=True, help="stem of the record's files")
    given = parser.parse_args(argv)
    adapters = given.adapters or data_path("controls")
    found = measure(adapters, load_prompts(), _tell)
    save_record(found, given.out)


if __name__ == "__main__":
    main()

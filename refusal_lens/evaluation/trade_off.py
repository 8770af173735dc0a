"""Refusal against over-refusal as the strength of an added direction grows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.evaluation.scoring import counts_as_refused, refusal_scores
from refusal_lens.intervals import wilson
from refusal_lens.interventions import Add
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import LensModel
from refusal_lens.model.forward import Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.records import Estimate, Record


@final
@dataclass(frozen=True)
class Curve:
    """Refusal rates of the refuse side and of the benign side at each strength.

    `length` is what strength 1 adds, in residual-stream units.
    """

    name: str
    length: float
    strengths: tuple[float, ...]
    refusal: tuple[Estimate, ...]
    over_refusal: tuple[Estimate, ...]


@final
@dataclass(frozen=True)
class TradeOff(Record):
    """Curves of directions and of their controls at one layer, with how they were judged."""

    SCHEMA_VERSION: ClassVar[int] = 1

    layer: int
    judged_by: str
    curves: tuple[Curve, ...]


@final
@dataclass(frozen=True, eq=False)
class Unedited:
    """Prompts and their refusal scores without an edit: strength 0 of every curve."""

    prompts: PromptSet
    scores: Float[Tensor, " prompt"]

    @classmethod
    def measure(cls, model: LensModel, prompts: PromptSet, trust: ScoreTrust) -> "Unedited":
        """Score the prompts with whatever edits are on."""
        return cls(prompts, refusal_scores(model, prompts, trust))

    def only(self, category: str) -> "Unedited":
        """Those of one category."""
        own = torch.tensor([p.category == category for p in self.prompts])
        return Unedited(self.prompts.only(category=category), self.scores[own])


def trade_off_curve(
    model: LensModel,
    direction: Direction,
    unedited: Unedited,
    trust: ScoreTrust,
    *,
    strengths: Sequence[float],
    progress: Progress = lambda n: None,
) -> Curve:
    """One curve: `direction` added at its own site, prompts scored without generating.

    Strength 0, the control of every other, is always there: it is `unedited`. The curve takes the
    direction's name.
    """
    sides: tuple[Label, Label] = ("refuse", "comply")
    prompts = unedited.prompts
    plain = counts_as_refused(prompts, unedited.scores, trust)
    rates = {0.0: {s: _rate(prompts, plain, s, None) for s in sides}}
    for strength in sorted(set(strengths) - {0.0}):
        with model.editing(Add(direction, strength=strength)):
            flags = counts_as_refused(prompts, refusal_scores(model, prompts, trust), trust)
        rates[strength] = {s: _rate(prompts, flags, s, rates[0.0][s].value) for s in sides}
        progress(len(prompts))
    ordered = tuple(sorted(rates))
    return Curve(
        name=direction.category,
        length=direction.scale,
        strengths=ordered,
        refusal=tuple(rates[s]["refuse"] for s in ordered),
        over_refusal=tuple(rates[s]["comply"] for s in ordered),
    )


def _rate(
    prompts: PromptSet, flags: list[bool | None], side: Label, control: float | None
) -> Estimate:
    own = [f for p, f in zip(prompts, flags, strict=True) if p.label == side and f is not None]
    return wilson(sum(own), len(own), control)

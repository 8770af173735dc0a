"""Refusal against over-refusal as a threshold or a bias at step 0 moves from never to always."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from jaxtyping import Bool, Int8, Int64
from torch import Tensor

from refusal_lens.auroc import auroc
from refusal_lens.intervals import wilson
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.refusal_tokens.decision import OTHER, RESPOND
from refusal_lens.refusal_tokens.readings import TokenReadings

THRESHOLDS: Final = (0.0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.01)
"""From "always a refusal token" to "never": no probability reaches 1.01."""
BIASES: Final = (-16.0, -8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0)
"""Nats."""


@final
@dataclass(frozen=True)
class Point:
    """Rates at one setting, of the harmful and of the benign prompts.

    `token` counts answers that begin with a refusal token, `text` answers read as refusals.
    """

    at: float
    token: tuple[Estimate, Estimate]
    text: tuple[Estimate, Estimate]


@final
@dataclass(frozen=True)
class CategoryRow:
    """One category's token: how well it tells the sides apart, and what taking it away does.

    `area` is the AUROC of the probability of any refusal token, harmful against benign prompts of
    the category. `named` is the share of its harmful prompts whose most probable refusal token is
    its own (control: the share of the commonest token there among all harmful prompts). `before`
    and `off` are text refusal of its harmful prompts unedited and with its token never emitted;
    `others` is that of the other categories' harmful prompts then, with the unedited rate as its
    control. A category without a token has no `named`, `off` and `others`: they are undefined.
    """

    category: str
    area: Estimate
    named: Estimate
    before: Estimate
    off: Estimate
    others: Estimate


@final
@dataclass(frozen=True)
class Roc(Record):
    """The two curves, what the areas under them are, and each category's row.

    `area` is the AUROC of p(c*), `any_area` of the probability of any refusal token, `margin_area`
    of log p(c*) - log p(respond); probabilities are ordered by their logarithms, since many near 1
    are one float32 number. `neither` is the share of
    prompts whose most probable first token is none of the named ones, `mass` the mean probability
    of the named ones. `confusion[i][k]` counts harmful prompts of category i by their most probable
    refusal token.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    by_threshold: tuple[Point, ...]
    by_bias: tuple[Point, ...]
    area: Estimate
    any_area: Estimate
    margin_area: Estimate
    unedited: Point
    neither: Estimate
    mass: float
    rows: tuple[CategoryRow, ...]
    confusion: tuple[tuple[int, ...], ...]
    tokens: tuple[str, ...]
    provenance: Provenance


def measure_roc(
    readings: TokenReadings,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    biases: Sequence[float] = BIASES,
) -> Roc:
    """Both curves from the readings of one set of prompts. No model.

    >>> tokens = rl.refusal_tokens.RefusalTokens(7, ("advice",), (9,), ("[respond]", "[advice]"))
    >>> few, judge = prompts.only(split="test", category="advice"), rl.make_judge("refusal")
    >>> readings = rl.refusal_tokens.read_answers(model, few, tokens, judge, rl.Decoding(2))
    >>> measure_roc(readings).by_threshold[0].token[0].value  # a threshold of 0: always
    1.0
    """
    step, harmful = readings.step_zero, readings.harmful
    plain = step.by_bias(0.0)
    return Roc(
        by_threshold=tuple(_point(readings, t, step.by_threshold(t)) for t in thresholds),
        by_bias=tuple(_point(readings, b, step.by_bias(b)) for b in biases),
        area=auroc(step.log_p, harmful),
        any_area=auroc(step.log_p_any, harmful),
        margin_area=auroc(step.margin, harmful),
        unedited=_point(readings, 0.0, plain),
        neither=wilson(int((plain == OTHER).sum()), len(plain)),
        mass=float(step.p_named.double().mean()),
        rows=tuple(_row(readings, plain, c) for c in dict.fromkeys(readings.categories)),
        confusion=tuple(_counts(readings, c) for c in dict.fromkeys(readings.categories)),
        tokens=readings.tokens.categories,
        provenance=readings.provenance,
    )


def text_rate(
    flags: Int8[Tensor, " prompt"], of: Bool[Tensor, " prompt"], control: float | None = None
) -> Estimate:
    """Share of refusals among the prompts chosen; unclear readings are left out and counted."""
    read = flags[of]
    known = read >= 0
    return wilson(int((read == 1).sum()), int(known.sum()), control, int((~known).sum()))


def _point(readings: TokenReadings, at: float, emitted: Int64[Tensor, " prompt"]) -> Point:
    sides = (readings.harmful, ~readings.harmful)
    refuses, flags = emitted >= 0, readings.read_as(emitted)
    token = [wilson(int(refuses[s].sum()), int(s.sum())) for s in sides]
    text = [text_rate(flags, s) for s in sides]
    return Point(at, (token[0], token[1]), (text[0], text[1]))


def _row(readings: TokenReadings, plain: Int64[Tensor, " prompt"], category: str) -> CategoryRow:
    here = torch.tensor([c == category for c in readings.categories])
    step, harmful = readings.step_zero, readings.harmful
    of_category, others = here & harmful, ~here & harmful
    names = readings.tokens.categories
    has_token = category in names
    place = names.index(category) if has_token else OTHER
    before = readings.read_as(plain)
    off = readings.read_as(torch.where(plain == place, RESPOND, plain))
    counts = torch.bincount(step.category[harmful], minlength=len(names))
    named = int((step.category[of_category] == place).sum())
    unedited = text_rate(before, of_category)
    return CategoryRow(
        category,
        auroc(step.log_p_any[here], harmful[here]),
        wilson(
            named,
            int(of_category.sum()) * has_token,
            float(counts.max() / counts.sum().clamp(min=1)),
        ),
        unedited,
        text_rate(off, of_category & has_token, unedited.value),
        text_rate(off, others & has_token, text_rate(before, others).value),
    )


def _counts(readings: TokenReadings, category: str) -> tuple[int, ...]:
    of_category = torch.tensor([c == category for c in readings.categories]) & readings.harmful
    chosen = readings.step_zero.category[of_category]
    return tuple(torch.bincount(chosen, minlength=len(readings.tokens.categories)).tolist())

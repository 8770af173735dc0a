"""How much of a direction is its sample, for any estimator: agreement of disjoint halves.

The units of each category (pairs, and prompts without a twin) are dealt at random into two halves,
and an estimator is fitted on either, which gives unit vectors a_1 and a_2. Their cosine, stepped up
by Spearman-Brown, is the reliability of the whole sample,

    2 c / (1 + c),   c = a_1 . a_2

With b_1 and b_2 of a reference estimator on the same halves, the cosine between the two estimators,
corrected for attenuation, is

    (a_1 . b_2 + a_2 . b_1) / (2 sqrt((a_1 . a_2) (b_1 . b_2)))

in which every product is between fits on different prompts, so that errors that both estimators
share do not enter. It may leave [-1, 1] and is undefined where c <= 0. Each quantity is a mean over
several random halves, of the cosines before the ratios. For the mean difference the exact limit of
many halves has a closed form (`fit_geometry`); this is for estimators that have none.

Intervals: a delete-a-group jackknife. Units are dealt into groups, each of which is left out once
(Wolter 2007, Introduction to Variance Estimation, section 4.2); t with one degree less than groups.
An estimator that jumps where a pair is left out (`Estimator.smooth`) has none, nor has a cosine to
one: the jackknife does not hold for it, and its value stands alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.directions import Estimator, make_estimator
from refusal_lens.directions.mean_difference import MEAN_DIFFERENCE
from refusal_lens.errors import InputError
from refusal_lens.intervals import jackknife_error, t_quantile
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.repeats import Unit
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.residuals import Residuals

SPLITS: Final = 2
GROUPS: Final = 8
LEAST_UNITS: Final = 6  # of a category; fewer leave too little in a half of what a group leaves

NamedVectors = Float64[Tensor, "name d_model"]


@final
@dataclass(frozen=True)
class Agreement(Record):
    """Reliability of an estimator and its cosine to a reference, pooled and by category.

    `names` is "pooled", then the categories. `naive` is the cosine of the two fits on all prompts,
    None where one is undefined. `n` in the estimates counts units: pairs, and prompts without a
    twin. A value without an interval is that of an estimator for which the jackknife does not hold;
    its `method` says so.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    estimator: str
    reference: str
    names: tuple[str, ...]
    reliability: tuple[Estimate, ...]
    cosine: tuple[Estimate, ...]
    naive: tuple[float | None, ...]
    provenance: Provenance


def fit_agreement(
    residuals: Residuals,
    estimator: str | Estimator,
    *,
    reference: str | Estimator = MEAN_DIFFERENCE,
    splits: int = SPLITS,
    groups: int = GROUPS,
    seed: int = 0,
) -> Agreement:
    """Reliability and corrected cosine to `reference`, at the residuals' only site and offset.

    The estimator is fitted 2 (groups + 1) splits times; the same halves serve the reference. One
    that is not `smooth` is fitted 2 splits times, and its values have no interval.

    >>> site = model.residuals(prompts).select(sites=[rl.Site(2)])
    >>> agreement = fit_agreement(site, "median_difference", groups=3, seed=1)
    >>> agreement.names
    ('pooled', 'advice', 'humanizing', 'unsupported')

    Raises:
        InputError: several sites or offsets, fewer than three groups, residuals of plain texts, or
            no category with enough units.
    """
    a = make_estimator(estimator) if isinstance(estimator, str) else estimator
    b = make_estimator(reference) if isinstance(reference, str) else reference
    if residuals.tensor.shape[1:3] != (1, 1) or groups < 3:
        raise InputError(
            f"agreement is measured at one site and offset with 3 groups or more; found "
            f"{len(residuals.sites)} sites, {len(residuals.offsets)} offsets and {groups} groups: "
            "residuals.select(sites=[...], offsets=[...])"
        )
    prompts = residuals.labelled
    dealt = _Dealt.of(prompts, splits, groups, seed)
    names = ("pooled", *prompts.categories)
    left_out = range(groups) if a.smooth else ()
    cosines = [_mean_cosines(residuals, a, b, dealt, left) for left in (None, *left_out)]
    whole, *without = (torch.stack(_ratios(c)) for c in cosines)
    jumps = (not a.smooth, not (a.smooth and b.smooth))
    naive = (_fitted(residuals, a, names) * _fitted(residuals, b, names)).sum(-1)
    counts = [len(dealt.half), *(sum(u[0] == c for u in dealt.half) for c in prompts.categories)]
    reliability, cosine = (
        tuple(
            _estimate(whole[q, i], None if jumps[q] else [c[q, i] for c in without], n, q)
            for i, n in enumerate(counts)
        )
        for q in range(2)
    )
    shown = tuple(None if x.isnan() else float(x) for x in naive)
    return Agreement(a.name, b.name, names, reliability, cosine, shown, residuals.provenance)


@final
@dataclass(frozen=True)
class _Dealt:
    """Each unit's half in every split, and the group in which it is left out."""

    half: dict[Unit, tuple[int, ...]]
    group: dict[Unit, int]

    @classmethod
    def of(cls, prompts: PromptSet, splits: int, groups: int, seed: int) -> "_Dealt":
        """Deal each category's units, those with both sides apart from those with one."""
        sides: dict[Unit, str] = {}
        for p in prompts:
            unit = _unit(p)
            sides[unit] = "".join(sorted({*sides.get(unit, ""), p.label[0]}))
        drawn = np.random.default_rng(seed)
        half: dict[Unit, tuple[int, ...]] = {}
        group: dict[Unit, int] = {}
        for stratum in sorted({(category, kind) for (category, _), kind in sides.items()}):
            units = [u for u, kind in sides.items() if (u[0], kind) == stratum]
            orders = [drawn.permutation(len(units)) for _ in range(splits + 1)]
            for i, unit in enumerate(units):
                half[unit] = tuple(int(order[i]) % 2 for order in orders[:-1])
                group[unit] = int(orders[-1][i]) % groups
        if all(sum(u[0] == c for u in half) < LEAST_UNITS for c in prompts.categories):
            raise InputError(
                f"agreement of halves needs a category with at least {LEAST_UNITS} pairs or "
                "unpaired prompts; give more prompts"
            )
        return cls(half, group)

    def ids(self, prompts: PromptSet, left: int | None) -> Iterator[tuple[list[str], list[str]]]:
        """The prompts of both halves of each split, without those of group `left`."""
        units = [(_unit(p), p.id) for p in prompts]
        kept = [(self.half[unit], key) for unit, key in units if self.group[unit] != left]
        n_splits = len(next(iter(self.half.values())))
        for s in range(n_splits):
            yield ([key for h, key in kept if h[s] == 0], [key for h, key in kept if h[s] == 1])


def _unit(p: Prompt) -> Unit:
    return p.category, " ".join(p.unit)


def _mean_cosines(
    residuals: Residuals, a: Estimator, b: Estimator, dealt: _Dealt, left: int | None
) -> Float64[Tensor, "3 name"]:
    """Means over splits of a_1 . a_2, b_1 . b_2 and (a_1 . b_2 + a_2 . b_1) / 2."""
    names = ("pooled", *residuals.labelled.categories)
    drawn: list[Tensor] = []
    for halves in dealt.ids(residuals.labelled, left):
        parts = [residuals.only(ids=ids) for ids in halves]
        a1, a2 = (_fitted(part, a, names) for part in parts)
        b1, b2 = (a1, a2) if a == b else (_fitted(part, b, names) for part in parts)
        crossed = ((a1 * b2).sum(-1) + (a2 * b1).sum(-1)) / 2
        drawn.append(torch.stack([(a1 * a2).sum(-1), (b1 * b2).sum(-1), crossed]))
    return torch.stack(drawn).mean(0)


def _fitted(residuals: Residuals, estimator: Estimator, names: tuple[str, ...]) -> NamedVectors:
    """Unit vectors by name; NaN where one is undefined or can't be fitted on so few prompts."""
    vectors = torch.full((len(names), residuals.tensor.shape[-1]), torch.nan, dtype=torch.float64)
    for fit in (estimator.within_categories, estimator):
        try:
            fitted = fit(residuals)
        except InputError:
            continue
        for name, vector in zip(fitted.categories, fitted.vectors[:, 0, 0], strict=True):
            vectors[names.index(name)] = vector.double()
    return vectors


def _ratios(cosines: Float64[Tensor, "3 name"]) -> tuple[Tensor, Tensor]:
    """Reliability, and the cosine corrected for attenuation."""
    aa, bb, ab = cosines
    positive = (aa > 0) & (bb > 0)
    root = torch.where(positive, aa * bb, torch.nan).sqrt()
    return 2 * aa / (1 + aa), ab / root


def _estimate(whole: Tensor, without: Sequence[Tensor] | None, n: int, quantity: int) -> Estimate:
    """The value with its jackknife interval; one without either where it is undefined.

    None for `without`: an estimator jumps, and there is no interval.
    """
    interval = (
        "no interval, as the estimator jumps where a pair is left out"
        if without is None
        else f"jackknife over {len(without)} groups of pairs, t interval"
    )
    method = (
        f"{'reliability' if quantity == 0 else 'cosine corrected for attenuation'} by random "
        f"halves, {interval}; control: 0, of unrelated directions"
    )
    control = 0.0
    each = torch.stack([whole, *(without or ())])
    if n < LEAST_UNITS or bool(each.isnan().any()):
        return Estimate(None, None, None, n, method, control)
    value = float(whole)
    if without is None:
        return Estimate(value, None, None, n, method, control)
    half = float(t_quantile(len(without) - 1) * jackknife_error(each[1:]))
    return Estimate(value, value - half, value + half, n, method, control)

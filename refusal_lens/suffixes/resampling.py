"""Intervals over rows that are crossed: each is of a prompt and of a suffix.

Prompts and suffixes are drawn anew independently, and a row weighs as often as its prompt times as
often as its suffix was drawn (the pigeonhole bootstrap, Owen 2007), which covers the dependence of
rows that share either and is somewhat wide.
"""

from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Float

from refusal_lens.auroc import with_percentiles
from refusal_lens.intervals import LEVEL
from refusal_lens.records import Estimate

DRAWS: Final = 1000
METHOD: Final = "percentile bootstrap over prompts and over suffixes"
RowNumbers = Float[np.ndarray, " row"]
DrawWeights = Float[np.ndarray, "draw row"]


def crossed_weights(
    units: Sequence[Hashable], suffixes: Sequence[Hashable], draws: int = DRAWS, seed: int = 0
) -> DrawWeights:
    """How often each row is drawn, in each draw of prompt units and of suffixes.

    No draws of a single unit: what other prompts would do can't be drawn from one.

    >>> crossed_weights(["a", "a", "b"], [0, 1, 0], draws=4).shape
    (4, 3)
    """
    if len({*units}) == 1:
        return np.zeros((0, len(units)))
    rng = np.random.default_rng(seed)
    return _drawn(units, draws, rng) * _drawn(suffixes, draws, rng)


def weighted_mean(
    values: RowNumbers, weights: DrawWeights, control: float | None = None
) -> Estimate:
    """The mean over rows, with the interval of the draws; undefined without rows."""
    if not len(values):
        return Estimate(None, None, None, 0, METHOD, control)
    total = weights.sum(1)
    drawn = (weights @ values)[total > 0] / total[total > 0]
    return _estimate(float(values.mean()), drawn, len(values), METHOD, control)


def auroc_estimate(
    score: RowNumbers, flipped: Bool[np.ndarray, " row"], weights: DrawWeights, control: float = 0.5
) -> Estimate:
    """Chance that a flipped row scores higher than another one; ties count half.

    Undefined where all rows or none are flipped, or a score is.
    """
    return _area(score, flipped, weights, None, control)


def within_auroc_estimate(
    score: RowNumbers,
    flipped: Bool[np.ndarray, " row"],
    groups: Sequence[Hashable],
    weights: DrawWeights,
    control: float = 0.5,
) -> Estimate:
    """The same over comparisons of rows of one group alone, for example of one prompt.

    `n` counts the rows of groups that have flipped rows and others.
    """
    return _area(score, flipped, weights, groups, control)


def _area(
    score: RowNumbers,
    flipped: Bool[np.ndarray, " row"],
    weights: DrawWeights,
    groups: Sequence[Hashable] | None,
    control: float,
) -> Estimate:
    method = f"AUROC{'' if groups is None else ' within prompts'}, {METHOD}"
    names = _codes(groups or [None] * len(score))
    mixed = np.isin(names, np.intersect1d(names[flipped], names[~flipped]))
    n = len(score) if groups is None else int(mixed.sum())
    if not mixed.any() or np.isnan(score).any():
        return Estimate(None, None, None, n, method, control)
    scores, positive, drawn = map(torch.from_numpy, (score, flipped, weights))
    value, low, high = with_percentiles(scores, positive, drawn, groups)
    return Estimate(value, low, high, n, method, control)


def _drawn(names: Sequence[Hashable], draws: int, rng: np.random.Generator) -> DrawWeights:
    codes = _codes(names)
    n = int(codes.max()) + 1 if len(codes) else 0
    counts = rng.multinomial(n, np.full(n, 1 / n), size=draws) if n else np.zeros((draws, 0))
    return counts[:, codes].astype(float)


def _codes(names: Sequence[Hashable]) -> np.ndarray:
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in names], dtype=int)


def _estimate(
    value: float, drawn: np.ndarray, n: int, method: str, control: float | None
) -> Estimate:
    if not len(drawn):
        return Estimate(value, None, None, n, method, control)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, float(low), float(high), n, method, control)

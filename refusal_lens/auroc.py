"""The area under the ROC curve, with intervals for the designs that the measurements have.

No interval is made of fewer than five prompts on a side, where one that is resampled is narrow for
want of values: of 3 + 3 that are separated it would have no width at all.
"""

from collections.abc import Hashable, Sequence
from typing import Final

import torch
from jaxtyping import Bool, Float, Float64, Int64
from scipy.stats import rankdata
from torch import Tensor

from refusal_lens.intervals import TAILS, jackknife_error, t_quantile
from refusal_lens.records import Estimate

LEAST_A_SIDE: Final = 5
_DRAWS: Final = 500
_CHANCE: Final = 0.5


def aurocs(
    scores: Float64[Tensor, "probe prompt"], positive: Bool[Tensor, " prompt"]
) -> Float64[Tensor, " probe"]:
    """Chance that a positive prompt scores higher than another one; ties count half.

    >>> scores = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 1.0]]).double()
    >>> aurocs(scores, torch.tensor([True, False, False])).tolist()
    [1.0, 0.25]
    """
    n, m = int(positive.sum()), int((~positive).sum())
    ranks = torch.from_numpy(rankdata(scores.numpy(), axis=1))
    return (ranks[:, positive].sum(1) - n * (n + 1) / 2) / (n * m)


def auroc(
    score: Float[Tensor, " prompt"], positive: Bool[Tensor, " prompt"], seed: int = 0
) -> Estimate:
    """The area with a percentile bootstrap over prompts; control .5 is chance.

    Undefined with fewer than five prompts on a side.

    >>> print(auroc(torch.arange(12.0), torch.arange(12) > 5))
    1.000 [1.000, 1.000] (n=12)
    """
    n = len(score)
    method = "AUROC, percentile bootstrap over prompts; control: chance"
    if _few(positive):
        return Estimate(None, None, None, n, method, _CHANCE)
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(n, (n,), generator=generator) for _ in range(_DRAWS)]
    times = torch.stack([torch.bincount(drawn, minlength=n) for drawn in rows]).double()
    value, low, high = with_percentiles(score, positive, times)
    return Estimate(value, low, high, n, method, _CHANCE)


def auroc_over_units(
    score: Float[Tensor, " prompt"],
    positive: Bool[Tensor, " prompt"],
    unit: Int64[Tensor, " prompt"],
) -> Estimate:
    """The area with a jackknife over units: a pair is left out as one.

    Undefined interval with fewer than three units, or than five rows on a side. Where the sides are
    separated perfectly the interval has no width: it says nothing of prompts that would not be.

    >>> pairs = torch.arange(6) // 2
    >>> auroc_over_units(torch.arange(6.0), torch.arange(6) % 2 == 1, pairs).value
    0.666...
    """
    method = "AUROC, jackknife over pairs or unpaired prompts, t interval; control: chance"
    names, place = unit.unique(return_inverse=True)
    n = len(names)
    value = float(drawn_aurocs(score, positive, torch.ones(1, len(score)).double())[0])
    without = drawn_aurocs(score, positive, (torch.arange(n)[:, None] != place).double())
    if n < 3 or _few(positive) or bool(without.isnan().any()):
        return Estimate(value, None, None, n, method, _CHANCE)
    half = float(t_quantile(n - 1) * jackknife_error(without))
    return Estimate(value, max(0.0, value - half), min(1.0, value + half), n, method, _CHANCE)


def with_percentiles(
    score: Float[Tensor, " row"],
    positive: Bool[Tensor, " row"],
    weights: Float64[Tensor, "draw row"],
    groups: Sequence[Hashable] | None = None,
) -> tuple[float, float | None, float | None]:
    """The area of rows of weight 1, and the 95% percentile interval over draws of weights.

    NaN where there is nothing to compare; no interval where no draw has anything, or with fewer
    than five rows on a side that are compared. `groups` as in `drawn_aurocs`.

    >>> ones = torch.ones(3, 10).double()
    >>> with_percentiles(torch.arange(10.0), torch.arange(10) > 4, ones)
    (1.0, 1.0, 1.0)
    """
    whole = torch.ones(1, len(score)).double()
    value = float(drawn_aurocs(score, positive, whole, groups)[0])
    drawn = drawn_aurocs(score, positive, weights, groups)
    drawn = drawn[~drawn.isnan()]
    if not len(drawn) or _few(positive, groups):
        return value, None, None
    low, high = drawn.quantile(torch.tensor(TAILS).double()).tolist()
    return value, low, high


def drawn_aurocs(
    score: Float[Tensor, " row"],
    positive: Bool[Tensor, " row"],
    weights: Float64[Tensor, "draw row"],
    groups: Sequence[Hashable] | None = None,
) -> Float64[Tensor, " draw"]:
    """The area under each draw's weights of the rows; NaN where a draw has nothing to compare.

    With `groups`, which name each row's, only rows of one group are compared with each other.

    >>> weights = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]).double()
    >>> drawn_aurocs(torch.tensor([1.0, 2.0, 0.0]), torch.tensor([True, False, False]), weights)
    tensor([0.5000, 1.0000,    nan], dtype=torch.float64)
    """
    assert not bool(score.isnan().any())
    won = compared = torch.zeros(len(weights), dtype=torch.float64)
    for rows in _rows_of(groups, len(score)):
        of_group = positive[rows]
        _, level = score[rows].unique(return_inverse=True)  # ascending
        of_positive, of_other = weights[:, rows[of_group]], weights[:, rows[~of_group]]
        others = torch.zeros(len(weights), len(rows), dtype=torch.float64)
        others.index_add_(1, level[~of_group], of_other)
        below = others.cumsum(1) - others / 2
        won = won + (of_positive * below[:, level[of_group]]).sum(1)
        compared = compared + of_positive.sum(1) * of_other.sum(1)
    return torch.where(compared > 0, won / compared, torch.nan)


def _few(positive: Bool[Tensor, " row"], groups: Sequence[Hashable] | None = None) -> bool:
    """Whether a side has fewer rows than an interval needs, of those that are compared at all."""
    sides = [positive[rows] for rows in _rows_of(groups, len(positive))]
    counts = [(int(side.sum()), int((~side).sum())) for side in sides]
    compared = [both for both in counts if min(both)]
    return min(map(sum, zip(*compared, strict=True)), default=0) < LEAST_A_SIDE


def _rows_of(groups: Sequence[Hashable] | None, n: int) -> list[Int64[Tensor, " _"]]:
    if groups is None:
        return [torch.arange(n)]
    rows: dict[Hashable, list[int]] = {}
    for row, name in enumerate(groups):
        rows.setdefault(name, []).append(row)
    return [torch.tensor(of) for of in rows.values()]

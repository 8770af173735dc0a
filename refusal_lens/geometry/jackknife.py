"""Cosines between mean differences, corrected for noise, with delete-one-pair jackknife intervals.

With the moments of geometry/products.py, for categories a and b:

    c_ab  = dot_ab / sqrt(U_a U_b)      corrected cosine
    rel_a = U_a / |mean d_a|^2          reliability
    ceiling_ab = sqrt(rel_a rel_b)      what noise leaves of a naive cosine of 1

The numerator and the squared lengths are unbiased, the ratio is consistent; it may leave [-1, 1]
and is undefined where a U is not positive. Valid only where the pairs of a and b are different
prompts: never with a shared benign pool (geometry/shared_pool.py).

A cosine's variance is the sum over the pairs of a and of b of the squared *influences*: what
leaving out the pair changes, times sqrt((n - 1)/n). Products of two noises are counted twice in it
(Efron & Stein 1981). Those within a category, which make the squared lengths U uncertain, are
estimated from the doubly centred Gram matrix and taken off once; those between two categories stay
counted twice: with few strong noise dimensions or unequal n, intervals would become too short.
Coverage was simulated at cosines 0, .6 and .95, reliabilities .5 to .9, 30 and 100 pairs,
isotropic, uneven and heavy-tailed noise: 93 to 99% (tests/test_coverage.py).
"""

from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float64
from scipy import stats as scipy_stats
from torch import Tensor

from refusal_lens.geometry.products import PairProducts
from refusal_lens.intervals import LEVEL

_LEAST_KEPT: Final = 0.65  # lower ones undercover where noise has few dimensions


@final
@dataclass(frozen=True, eq=False)
class CosineTable:
    """Cosines of all pairs of categories at one site, beside what limits them. NaN: undefined.

    `influence[i, b]` is what pair i, of category a, does to the cosine of a and b;
    `share_influence` the same for its category's share.
    """

    naive: Float64[Tensor, "category category"]
    corrected: Float64[Tensor, "category category"]
    low: Float64[Tensor, "category category"]
    high: Float64[Tensor, "category category"]
    ceiling: Float64[Tensor, "category category"]
    reliability: Float64[Tensor, " category"]
    reliability_low: Float64[Tensor, " category"]
    reliability_high: Float64[Tensor, " category"]
    sq_length: Float64[Tensor, " category"]
    share: Float64[Tensor, " category"]
    influence: Float64[Tensor, "pair category"]
    share_influence: Float64[Tensor, " pair"]


def cosine_table(products: PairProducts) -> CosineTable:
    """Cosines with 95% intervals from the pair products of one site."""
    whole, left = products.estimate(), products.leave_one_out()
    owner, n = products.owner, whole.n
    corrected, rel = whole.corrected[0], whole.reliability[0]
    own = torch.arange(len(owner))
    influence = influences(left.corrected[own, owner], products)
    by_row = products.sum_by_category(influence.square())
    variance = by_row + by_row.T
    kept = torch.maximum(
        variance - _of_lengths(products, whole.sq_length[0], corrected), _LEAST_KEPT * variance
    )
    half = t_quantile(n[:, None] + n[None, :] - 2) * kept.sqrt()
    half.fill_diagonal_(0.0)
    rel_left = influences(left.reliability[own, owner], products)
    rel_half = t_quantile(n - 1) * products.sum_by_category(rel_left.square()).sqrt()
    exists = whole.dots[0].diagonal() > 0
    return CosineTable(
        naive=whole.naive[0],
        corrected=corrected,
        low=corrected - half,
        high=corrected + half,
        ceiling=torch.outer(rel, rel).where(torch.outer(rel > 0, rel > 0), torch.nan).sqrt(),
        reliability=rel,
        reliability_low=rel - rel_half,
        reliability_high=rel + rel_half,
        sq_length=torch.where(exists, whole.sq_length[0], torch.nan),
        share=whole.share[0],
        influence=influence,
        share_influence=influences(left.share[own, owner], products),
    )


def influences(
    left: Float64[Tensor, "pair ..."], products: PairProducts
) -> Float64[Tensor, "pair ..."]:
    """Influence of each pair from the values without it; their squares sum to the variance."""
    flat = left.flatten(1) if left.ndim > 1 else left[:, None]
    n = torch.tensor(products.n, dtype=torch.float64)[:, None]
    mean = products.sum_by_category(flat) / n
    scale = ((n - 1) / n).sqrt()[products.owner]
    return ((mean[products.owner] - flat) * scale).reshape(left.shape)


def t_quantile(df: Tensor, level: float = LEVEL) -> Tensor:
    """Two-sided quantile of Student's t at `level`."""
    return torch.as_tensor(scipy_stats.t.ppf((1 + level) / 2, df.numpy()))


def _of_lengths(
    products: PairProducts, sq_length: Tensor, corrected: Tensor
) -> Float64[Tensor, "category category"]:
    """Variance of each cosine from products of two noises in its squared lengths.

    To first order in U, c changes by -c/2 of what either U changes relative to itself.
    """
    n = torch.tensor(products.n, dtype=torch.float64)
    member = products.member
    project = torch.eye(len(products.gram)) - member @ (member / n).T
    squares = (project @ products.gram @ project).square()
    of_others = ((member.T @ squares) * member.T).sum(1) - member.T @ squares.diagonal()
    relative = 2 * of_others / (n * (n - 1) * sq_length).square()
    return corrected.square() * (relative[:, None] + relative) / 4


def interval(
    value: Float64[Tensor, "..."],
    left: Float64[Tensor, "pair ..."],
    products: PairProducts,
) -> tuple[Float64[Tensor, "..."], Float64[Tensor, "..."], Float64[Tensor, "..."]]:
    """Value less its jackknife bias, and 95% bounds, of any statistic of all categories.

    `left` holds the statistic without each pair. The bias taken off is the sum over categories of
    (n - 1) times what leaving out one of its pairs changes on average.
    """
    n = torch.tensor(products.n, dtype=torch.float64)
    shape = (-1, *[1] * value.ndim)
    mean = products.sum_by_category(left) / n.reshape(shape)
    unbiased = value - ((n - 1).reshape(shape) * (mean - value)).sum(0)
    variance = influences(left, products).square().sum(0)
    half = t_quantile(n.sum() - len(n)) * variance.sqrt()
    return unbiased, unbiased - half, unbiased + half

"""Cosines between mean differences, corrected for noise, with delete-one-pair jackknife intervals.

With the moments of geometry/products.py, for categories a and b:

    c_ab  = dot_ab / sqrt(U_a U_b)      corrected cosine
    rel_a = U_a / |mean d_a|^2          reliability
    ceiling_ab = sqrt(rel_a rel_b)      what noise leaves of a naive cosine of 1
    share_a = mean of cos(d_i, d_j) over i != j, the U of differences at unit length

The numerator and the squared lengths are unbiased, the ratio is not: where the pairs of a category
differ in length along its own direction, dot and U move together and the ratio is too large by
about var(length) / (2 n length^2) a category, which can be more than its standard error. So of each
ratio the jackknife's estimate of its bias is taken off (Quenouille 1956), and what is left is both
the value shown and the centre of its interval. It may leave [-1, 1] and is undefined where a U,
also one without some pair, is not positive. Valid only where the pairs of a and b are different
prompts: never with a shared benign pool (geometry/shared_pool.py).

A variance is the sum over the pairs of a and of b of the squared *influences*: what leaving out the
pair changes, times sqrt((n - 1)/n). Products of two noises are counted twice in it (Efron & Stein
1981), so intervals are cautious where reliability is low.

Coverage of the nominal 95%, simulated at cosines 0 to 1, reliabilities .5 to .999 and 20 to 100
pairs: 93 to 100% with isotropic, uneven and heavy-tailed noise and where the length of the
difference varies from pair to pair along the direction (standard deviation .5 to 2 of its mean);
95 to 98% on resampled pairs of the embedded model (benchmarks/RESULTS.md). Where a category is not
measurable the value, but not its interval, is unstable.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.geometry.products import PairProducts
from refusal_lens.intervals import t_quantile


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
    """Cosines with 95% intervals from the pair products of one site, less their jackknife bias.

    >>> import torch
    >>> drawn = [torch.randn(20, 32, dtype=torch.float64) + 1.0 for _ in range(3)]
    >>> table = cosine_table(rl.geometry.PairProducts.of(drawn))
    >>> bool((table.low <= table.high)[0, 1]), table.corrected.shape
    (True, torch.Size([3, 3]))
    """
    whole, left = products.estimate(), products.leave_one_out()
    owner, n = products.owner, whole.n
    pairs = torch.arange(len(owner))
    corrected, low, high = jackknife_over_pairs(
        whole.corrected[0], left.corrected, products, n[:, None] + n[None, :] - 2
    )
    rel, rel_low, rel_high = jackknife_over_pairs(
        whole.reliability[0], left.reliability, products, n - 1
    )
    aligned = products.aligned()
    exists = whole.dots[0].diagonal() > 0
    return CosineTable(
        naive=whole.naive[0],
        corrected=corrected,
        low=low,
        high=high,
        ceiling=torch.outer(rel, rel).where(torch.outer(rel > 0, rel > 0), torch.nan).sqrt(),
        reliability=rel,
        reliability_low=rel_low,
        reliability_high=rel_high,
        sq_length=torch.where(exists, whole.sq_length[0], torch.nan),
        share=torch.where(exists, aligned.estimate().sq_length[0], torch.nan),
        influence=influences(left.corrected[pairs, owner], products),
        share_influence=influences(aligned.leave_one_out().sq_length[pairs, owner], products),
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


def jackknife_over_pairs(
    value: Float64[Tensor, "..."],
    left: Float64[Tensor, "pair ..."],
    products: PairProducts,
    df: Float64[Tensor, "..."] | None = None,
) -> tuple[Float64[Tensor, "..."], Float64[Tensor, "..."], Float64[Tensor, "..."]]:
    """Value less its jackknife bias, and 95% bounds around that, of any statistic.

    `left` holds the statistic without each pair. The bias taken off is the sum over categories of
    (n - 1) times what leaving out one of its pairs changes on average. `df` are the degrees of
    freedom of Student's t, by default those of a statistic of all categories: pairs less
    categories.
    """
    n = torch.tensor(products.n, dtype=torch.float64)
    shape = (-1, *[1] * value.ndim)
    mean = products.sum_by_category(left) / n.reshape(shape)
    unbiased = value - ((n - 1).reshape(shape) * (mean - value)).sum(0)
    variance = influences(left, products).square().sum(0)
    half = t_quantile(n.sum() - len(n) if df is None else df) * variance.sqrt()
    return unbiased, unbiased - half, unbiased + half

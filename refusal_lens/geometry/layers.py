"""A direction against itself at other sites and offsets, and where categories part and meet.

The same pairs are read everywhere, so the errors at two places are not independent: products of a
pair with itself are left out of the numerator too,

    U_st = (S_s . S_t - sum_i d_i^s . d_i^t) / (n (n - 1)),    c_st = U_st / sqrt(U_ss U_tt)

for places s and t. Vectors of different layers are compared as they lie in the one stream.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64
from scipy import stats as scipy_stats
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry.base import Geometry
from refusal_lens.geometry.jackknife import t_quantile
from refusal_lens.intervals import LEVEL
from refusal_lens.records import Estimate


@final
@dataclass(frozen=True, eq=False)
class SelfCosines:
    """Corrected cosines of one category's direction between places; NaN is undefined."""

    cosine: Float64[Tensor, "place place"]
    low: Float64[Tensor, "place place"]
    high: Float64[Tensor, "place place"]
    n: int


def self_cosines(differences: Float[Tensor, "pair place d_model"]) -> SelfCosines:
    """Cosines of a category's mean difference with itself at all places, with intervals.

    Raises:
        InputError: fewer than three pairs, or a value that is not finite.
    """
    n = len(differences)
    if n < 3 or not bool(torch.isfinite(differences).all()):
        raise InputError(f"found {n} pairs; at least 3 are needed, all of them finite")
    d = differences.double()
    total = d.sum(0)
    own = torch.einsum("isd,itd->ist", d, d)
    squares = total @ total.T
    u = (squares - own.sum(0)) / (n * (n - 1))
    # Without pair i: S_s - d_i^s at both places, and one self-product less.
    cross = torch.einsum("isd,td->ist", d, total)
    left_squares = squares - cross - cross.mT + own
    left = (left_squares - (own.sum(0) - own)) / ((n - 1) * (n - 2))
    cosine, without = _cosine(u), _cosine(left)
    variance = (n - 1) / n * (without - without.mean(0)).square().sum(0)
    half = float(scipy_stats.t.ppf((1 + LEVEL) / 2, n - 1)) * variance.sqrt()
    half.fill_diagonal_(0.0)
    return SelfCosines(cosine, cosine - half, cosine + half, n)


def change_over_layers(geometry: Geometry, a: str, b: str, first: int, last: int) -> Estimate:
    """Corrected cosine of two categories at layer `last` minus at `first`: above 0 they meet.

    The same pairs give both, so each pair's influence on the one is taken from that on the other.

    Raises:
        InputError: a category or layer that the geometry does not hold.
    """
    one, two = geometry.cosine(a, b, first), geometry.cosine(a, b, last)
    method = f"corrected cosine at layer {last} minus layer {first}, paired jackknife"
    if one.value is None or two.value is None:
        return Estimate(None, None, None, one.n, method)
    layers = [site.layer for site in geometry.sites]
    i, j = geometry.categories.index(a), geometry.categories.index(b)
    change = geometry.influence[layers.index(last)] - geometry.influence[layers.index(first)]
    bounds = torch.tensor((0, *geometry.n)).cumsum(0).tolist()
    rows = ((i, j), (j, i))
    variance = sum(
        float(change[bounds[k] : bounds[k + 1], other].double().square().sum()) for k, other in rows
    )
    half = float(t_quantile(torch.tensor([geometry.n[i] + geometry.n[j] - 2.0]))) * variance**0.5
    value = two.value - one.value
    return Estimate(value, value - half, value + half, one.n, method)


def _cosine(products: Tensor) -> Tensor:
    sq = products.diagonal(dim1=-2, dim2=-1)
    length = torch.where(sq > 0, sq, torch.nan).sqrt()
    return products / (length[..., :, None] * length[..., None, :])

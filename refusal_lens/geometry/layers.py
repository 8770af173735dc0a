"""A direction against itself at other sites and offsets, and where categories part and meet.

The same pairs are read everywhere, so the errors at two places are not independent: products of a
pair with itself are left out of the numerator too,

    U_st = (S_s . S_t - sum_i d_i^s . d_i^t) / (n (n - 1)),    c_st = U_st / sqrt(U_ss U_tt)

for places s and t, less the jackknife's estimate of the ratio's bias (geometry/jackknife.py).
Vectors of different layers are compared as they lie in the one stream.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry.cosines import Geometry
from refusal_lens.intervals import jackknife, t_quantile
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

    >>> import torch
    >>> self_cosines(torch.randn(20, 3, 32) + 1.0).cosine.shape
    torch.Size([3, 3])

    Raises:
        InputError: fewer than three pairs, or a value that is not finite.
    """
    n = len(differences)
    if n < 3 or not bool(torch.isfinite(differences).all()):
        raise InputError(f"found {n} pairs; at least 3 are needed, all of them finite")
    d = differences.double()
    total = d.sum(0)
    self_products = torch.einsum("isd,itd->ist", d, d)
    squares = total @ total.T
    u = (squares - self_products.sum(0)) / (n * (n - 1))
    # Without pair i: S_s - d_i^s at both places, and one self-product less.
    cross = torch.einsum("isd,td->ist", d, total)
    left_squares = squares - cross - cross.mT + self_products
    left = (left_squares - (self_products.sum(0) - self_products)) / ((n - 1) * (n - 2))
    cosine, without = _cosine(u), _cosine(left)
    cosine, low, high = jackknife(cosine, without)
    for bound in (low, high):  # a direction's cosine with itself is known
        bound.diagonal().copy_(cosine.diagonal())
    return SelfCosines(cosine, low, high, n)


def change_over_layers(geometry: Geometry, a: str, b: str, first: int, last: int) -> Estimate:
    """Corrected cosine of two categories at layer `last` minus at `first`: above 0 they meet.

    >>> geometry = rl.fit_geometry(model.residuals(prompts))
    >>> change_over_layers(geometry, "advice", "humanizing", first=1, last=2).n
    6

    Raises:
        InputError: a category or layer that the geometry does not hold.
    """
    return cosine_difference(geometry, (a, b, last), (a, b, first))


def cosine_difference(
    geometry: Geometry, one: tuple[str, str, int], other: tuple[str, str, int]
) -> Estimate:
    """One corrected cosine minus another, each given as (category, category, layer).

    They may share categories or pairs: each pair's influence on the one is taken from that on the
    other before their squares are summed.

    >>> geometry = rl.fit_geometry(model.residuals(prompts))
    >>> one, other = ("advice", "humanizing", 2), ("advice", "unsupported", 2)
    >>> cosine_difference(geometry, one, other).n
    6

    Raises:
        InputError: a category or layer that the geometry does not hold.
    """
    estimates = geometry.cosine(*one), geometry.cosine(*other)
    values = [e.value for e in estimates]
    n = min(e.n for e in estimates)
    method = f"corrected cosine of {_named(one)} minus {_named(other)}, paired jackknife"
    if values[0] is None or values[1] is None:
        return Estimate(None, None, None, n, method)
    change = _influence(geometry, one) - _influence(geometry, other)
    used = {geometry.n[geometry.categories.index(c)] for c in (*one[:2], *other[:2])}
    df = torch.tensor([2.0 * min(used) - 2.0])
    half = float(t_quantile(df)) * float(change.square().sum().sqrt())
    value = values[0] - values[1]
    return Estimate(value, value - half, value + half, n, method)


def _named(cosine: tuple[str, str, int]) -> str:
    a, b, layer = cosine
    return f"{a} and {b} at layer {layer}"


def _influence(geometry: Geometry, cosine: tuple[str, str, int]) -> Float64[Tensor, " pair"]:
    """What every pair of the geometry does to one cosine."""
    a, b, layer = cosine
    influence = torch.zeros(len(geometry.pairs), dtype=torch.float64)
    if a == b:
        return influence
    s = [site.layer for site in geometry.sites].index(layer)
    bounds = torch.tensor((0, *geometry.n)).cumsum(0).tolist()
    for category, other in ((a, b), (b, a)):
        i, j = geometry.categories.index(category), geometry.categories.index(other)
        rows = slice(bounds[i], bounds[i + 1])
        influence[rows] = geometry.influence[s, rows, j].double()
    return influence


def _cosine(products: Tensor) -> Tensor:
    sq = products.diagonal(dim1=-2, dim2=-1)
    length = torch.where(sq > 0, sq, torch.nan).sqrt()
    return products / (length[..., :, None] * length[..., None, :])

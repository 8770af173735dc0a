"""How many directions, and what of a category remains: functions of one corrected matrix.

With corrected cosines c_ab of C categories:

    effective dimension = C^2 / sum_ab c_ab^2         the participation ratio of the matrix
    along_a     = sum_{b != a} c_ab / sqrt(sum_{b, b' != a} c_bb')
    remainder_a = 1 - along_a^2

`along_a` is the cosine of category a with the mean of the others' unit vectors, and
`remainder_a` the share of its squared length orthogonal to this mean. Noise inflates squared
cosines, so the jackknife's bias is taken off each.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.geometry.jackknife import jackknife_over_pairs
from refusal_lens.geometry.products import PairProducts
from refusal_lens.records import Estimate


@final
@dataclass(frozen=True, eq=False)
class Remainders:
    """Each category's part along the mean of the others, and its remainder. NaN: undefined.

    `reliability` is that of the remainder as a direction: its noise-free squared length over
    itself and the noise of the whole difference. All with 95% intervals.
    """

    along: Float64[Tensor, "category 3"]
    remainder: Float64[Tensor, "category 3"]
    reliability: Float64[Tensor, "category 3"]


def effective_dimension(products: PairProducts, d_model: int) -> Estimate:
    """Participation ratio of the corrected matrix; 1 is one direction, C is as many as categories.

    The control is what C directions drawn at random in `d_model` dimensions give: about
    C d / (d + C - 1). Undefined where a category is, or where the bound of the noise is.

    >>> import torch
    >>> drawn = [torch.randn(20, 32, dtype=torch.float64) + 1.0 for _ in range(3)]
    >>> dimension = effective_dimension(rl.geometry.PairProducts.of(drawn), d_model=32)
    >>> dimension.value < dimension.control  # the three have one mean
    True
    """
    n_categories, n = len(products.n), sum(products.n)
    random = n_categories * d_model / (d_model + n_categories - 1)
    method = "participation ratio of corrected cosines, jackknife; control: random directions"
    whole = _participation(products.estimate().corrected)[0]
    left = _participation(products.leave_one_out().corrected)
    value, low, high = jackknife_over_pairs(whole, left, products)
    if not bool(torch.isfinite(value + low + high)):
        return Estimate(None, None, None, n, method, random)
    # The ratio of n directions lies between 1 and n; an interval's ends need not.
    return Estimate(float(value), float(low), float(high), n, method, random)


def remainders(products: PairProducts) -> Remainders:
    """Each category's part along the mean of the others, and its remainder, with their intervals.

    `along`: corrected cosine of a category's direction with the sum of the other categories' unit
    directions. `remainder`: share of its squared length that is left across it, 1 - along^2. Both
    without unit; the last axis is value, low and high of the 95% jackknife interval over pairs.

    >>> import torch
    >>> drawn = [torch.randn(20, 32, dtype=torch.float64) + 1.0 for _ in range(3)]
    >>> remainders(rl.geometry.PairProducts.of(drawn)).along.shape  # value, low, high
    torch.Size([3, 3])
    """
    whole, left = products.estimate(), products.leave_one_out()
    parts: list[Tensor] = []
    for statistic in (_along, _remainder, _remainder_reliability):
        value, low, high = jackknife_over_pairs(
            statistic(whole.corrected, whole.reliability)[0],
            statistic(left.corrected, left.reliability),
            products,
        )
        parts.append(torch.stack([value, low, high], -1))
    return Remainders(*parts)


def _participation(matrix: Tensor) -> Float64[Tensor, " draw"]:
    return matrix.shape[-1] ** 2 / matrix.square().sum((-2, -1))


def _along(matrix: Tensor, reliability: Tensor) -> Float64[Tensor, "draw category"]:
    del reliability
    others = matrix.sum(-1) - 1.0
    rest = matrix.sum((-2, -1))[..., None] - 2 * others - 1.0
    return others / torch.where(rest > 0, rest, torch.nan).sqrt()


def _remainder(matrix: Tensor, reliability: Tensor) -> Float64[Tensor, "draw category"]:
    return 1.0 - _along(matrix, reliability).square()


def _remainder_reliability(matrix: Tensor, reliability: Tensor) -> Float64[Tensor, "draw category"]:
    """From R U / (R U + noise), R the remainder's share, with noise / U = 1 / reliability - 1."""
    remainder = _remainder(matrix, reliability)
    return remainder / (remainder + 1.0 / reliability - 1.0)

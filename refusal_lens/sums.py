"""Sums that are streamed over prompts, by category and label, and what they estimate."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from refusal_lens.prompts import COMPLY, LABELS, REFUSE


@final
@dataclass(frozen=True, eq=False)
class Sides:
    """Where the rows of a batch belong: category, label, and which two rows are a pair.

    `pairs` holds the rows of (refuse, comply) of every pair that is in the batch with both sides.
    """

    category: Int64[Tensor, " batch"]
    label: Int64[Tensor, " batch"]
    pairs: Int64[Tensor, "pair 2"]


@final
class SideSums:
    """Sums of x, of squares, and of squared pair differences, by category and label, in float64.

    x is [batch, *shape] with any axes. The last `n_inner` of them are those of one vector: squares
    are summed over them (`n_inner=1`: squared norms; 0: the square of each number). Memory does
    not grow with the number of prompts.

    >>> import torch
    >>> sums = SideSums(1, (2,))
    >>> sides = Sides(torch.tensor([0, 0]), torch.tensor([0, 1]), torch.tensor([[0, 1]]))
    >>> sums.update(torch.tensor([[3.0, 1.0], [1.0, 1.0]]), sides)
    >>> sums.mean()[0, 0].tolist(), sums.pair_square[0].tolist()
    ([3.0, 1.0], [4.0, 0.0])
    """

    def __init__(self, n_categories: int, shape: Sequence[int], *, n_inner: int = 0) -> None:
        squares = tuple(shape)[: len(shape) - n_inner]

        def zeros(*axes: int) -> Float64[Tensor, "..."]:
            return torch.zeros(*axes, dtype=torch.float64)

        self._inner = tuple(range(-n_inner, 0))
        self.count = torch.zeros(n_categories, len(LABELS), dtype=torch.int64)
        self.total = zeros(n_categories, len(LABELS), *shape)
        self.square = zeros(n_categories, len(LABELS), *squares)
        self.n_pairs = torch.zeros(n_categories, dtype=torch.int64)
        self.pair_square = zeros(n_categories, *squares)

    def update(self, x: Tensor, sides: Sides) -> None:
        """Add a batch."""
        x = x.double()
        where = sides.category, sides.label
        self.count.index_put_(where, torch.ones_like(sides.category), accumulate=True)
        self.total.index_put_(where, x, accumulate=True)
        self.square.index_put_(where, self._squared(x), accumulate=True)
        if len(sides.pairs):
            category = sides.category[sides.pairs[:, 0]]
            difference = x[sides.pairs[:, 0]] - x[sides.pairs[:, 1]]
            self.n_pairs.index_put_((category,), torch.ones_like(category), accumulate=True)
            self.pair_square.index_put_((category,), self._squared(difference), accumulate=True)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every sum and count; those of other prompts are added to them in place."""
        return self.count, self.total, self.square, self.n_pairs, self.pair_square

    @property
    def paired(self) -> Tensor:
        """For each category, whether every prompt has its twin (bool)."""
        return (self.count == self.n_pairs[:, None]).all(1) & (self.n_pairs > 0)

    def mean(self) -> Float64[Tensor, "category label ..."]:
        """Means of x; NaN where a side has no prompt."""
        return self.total / self._over(self._n(), self.total)

    def difference_error(self) -> Float64[Tensor, "category ..."]:
        """Standard error of the mean of the refuse side minus that of the comply side.

        Over pairs where a category is paired, otherwise of two independent samples.
        """
        n = self._over(self._n(), self.square)
        squares = self._squared(self.mean())
        variance = (self.square - n * squares).clamp(min=0) / (n - 1)
        independent = (variance / n).sum(1).sqrt()
        m = self._over(self.n_pairs.double(), self.pair_square)
        d = self._squared(self.mean()[:, REFUSE] - self.mean()[:, COMPLY])
        paired = ((self.pair_square - m * d).clamp(min=0) / (m - 1) / m).sqrt()
        return torch.where(self._over(self.paired, self.pair_square), paired, independent)

    def _squared(self, x: Tensor) -> Tensor:
        return x.square().sum(self._inner) if self._inner else x.square()

    def _n(self) -> Float64[Tensor, "category label"]:
        n = self.count.double()
        return torch.where(n > 0, n, nan)

    @staticmethod
    def _over(values: Tensor, like: Tensor) -> Tensor:
        return values.reshape(*values.shape, *[1] * (like.ndim - values.ndim))

"""Inner products of pair differences, and what follows from sums of them under any weights.

For category a with pair differences d_i (refuse minus comply; n_a of them) and a weight w_i on each
pair, W = sum w_i and V = sum w_i^2:

    S_a   = sum_i w_i d_i
    dot   = S_a . S_b / (W_a W_b)                              mean d_a . mean d_b
    U_a   = (|S_a|^2 - sum_i w_i^2 |d_i|^2) / (W_a^2 - V_a)    unbiased |true mean|^2
    q_a   = sum_i w_i |d_i|^2 / W_a                            mean square of one pair's difference

Products of a pair with itself never enter U. Weights of one give the estimates, a single zero the
leave-one-out values, multinomial counts the bootstrap, halves the split halves: all of them need
the Gram matrix of the pairs and nothing of the width of the model.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from refusal_lens.errors import InputError


@final
@dataclass(frozen=True, eq=False)
class Moments:
    """Squares and products of the categories' mean differences, for each draw of weights.

    `dots` is mean d_a . mean d_b, `sq_length` is U and `pair_sq` is q of the module's formulas;
    `n` is the number of pairs that each mean has, whatever the weights.
    """

    n: Float64[Tensor, " category"]
    dots: Float64[Tensor, "draw category category"]
    sq_length: Float64[Tensor, "draw category"]
    pair_sq: Float64[Tensor, "draw category"]

    @property
    def naive(self) -> Float64[Tensor, "draw category category"]:
        """Cosines of the means as they are. NaN: undefined."""
        sq = self.dots.diagonal(dim1=-2, dim2=-1)
        return _cosine(self.dots, sq)

    @property
    def corrected(self) -> Float64[Tensor, "draw category category"]:
        """Cosines over noise-free lengths; the diagonal is 1. NaN where a U is not positive."""
        return with_unit_diagonal(_cosine(self.dots, self.sq_length))

    @property
    def noise(self) -> Float64[Tensor, "draw category"]:
        """(q - U) / n: what noise adds to the squared length of a mean of n pairs."""
        return (self.pair_sq - self.sq_length) / self.n

    @property
    def reliability(self) -> Float64[Tensor, "draw category"]:
        """U / (U + noise) of a mean of n pairs, which is Spearman-Brown of U / q to n."""
        total = self.sq_length + self.noise
        return self.sq_length / torch.where(total > 0, total, torch.nan)


@final
@dataclass(frozen=True, eq=False)
class PairProducts:
    """Inner products of the pair differences of all categories at one site.

    `gram[i, j]` is d_i . d_j, the pairs in the order of the categories, `n` of each.
    """

    n: tuple[int, ...]
    gram: Float64[Tensor, "pair pair"]

    @classmethod
    def of(cls, differences: list[Float64[Tensor, "_ d_model"]]) -> "PairProducts":
        """The products of each category's pair differences.

        Raises:
            InputError: a category with fewer than three pairs, or a value that is not finite.
        """
        for d in differences:
            if len(d) < 3:
                raise InputError(f"a jackknife needs at least 3 pairs per category, found {len(d)}")
            if not bool(torch.isfinite(d).all()):
                raise InputError(
                    "a pair difference is not finite: a residual is infinite or NaN (float16 "
                    "overflows); load the model in bfloat16 or float32"
                )
        stacked = torch.cat(differences)
        return cls(tuple(map(len, differences)), stacked @ stacked.T)

    def aligned(self) -> "PairProducts":
        """The products of the differences at unit length: their cosines. Those of length 0 stay."""
        length = self.gram.diagonal().sqrt()
        inverse = torch.where(length > 0, 1 / length, 0.0)
        return PairProducts(self.n, self.gram * torch.outer(inverse, inverse))

    @property
    def owner(self) -> Int64[Tensor, " pair"]:
        """Each pair's place on the category axis."""
        return torch.repeat_interleave(torch.arange(len(self.n)), torch.tensor(self.n))

    @property
    def member(self) -> Float64[Tensor, "pair category"]:
        """1 where a pair belongs to a category."""
        return torch.nn.functional.one_hot(self.owner, len(self.n)).double()

    def sum_by_category(
        self, values: Float64[Tensor, "pair ..."]
    ) -> Float64[Tensor, "category ..."]:
        """Sums over the pairs of each category; what is undefined in one stays in it."""
        sums = torch.zeros(len(self.n), *values.shape[1:], dtype=values.dtype)
        return sums.index_add_(0, self.owner, values)

    def moments(self, weights: Float64[Tensor, "draw pair"]) -> Moments:
        """The moments under each draw of weights."""
        member = self.member
        by_row = [
            ((weights[:, rows] @ self.gram[rows]) * weights) @ member
            for rows in torch.arange(len(self.owner)).split(list(self.n))
        ]
        total = weights @ member
        total_sq = weights.square() @ member
        pair_squares = self.gram.diagonal()
        squares = torch.stack(by_row, 1)
        self_products = (weights.square() * pair_squares) @ member
        return Moments(
            n=torch.tensor(self.n, dtype=torch.float64),
            dots=squares / (total[:, :, None] * total[:, None, :]),
            sq_length=(squares.diagonal(dim1=-2, dim2=-1) - self_products)
            / (total.square() - total_sq),
            pair_sq=(weights * pair_squares) @ member / total,
        )

    def estimate(self) -> Moments:
        """The moments of all pairs: one draw."""
        return self.moments(torch.ones(1, len(self.gram), dtype=torch.float64))

    def leave_one_out(self) -> Moments:
        """The moments without pair i, for each i: one draw a pair."""
        size = len(self.gram)
        return self.moments(1.0 - torch.eye(size, dtype=torch.float64))

    def resampled(self, draws: int, seed: int) -> Moments:
        """Bootstrap: pairs drawn with replacement within each category, `draws` times."""
        return self.moments(bootstrap_weights(self.n, draws, seed))


def bootstrap_weights(n: tuple[int, ...], draws: int, seed: int) -> Float64[Tensor, "draw pair"]:
    """How often each pair is drawn, with replacement within its category."""
    generator = torch.Generator().manual_seed(seed)
    parts: list[Tensor] = []
    for size in n:
        drawn = torch.randint(size, (draws, size), generator=generator)
        parts.append(torch.zeros(draws, size).scatter_add_(1, drawn, torch.ones(draws, size)))
    return torch.cat(parts, 1).double()


def with_unit_diagonal(
    matrix: Float64[Tensor, "draw category category"],
) -> Float64[Tensor, "draw category category"]:
    """The matrices with their defined diagonal set to 1, a vector's cosine with itself."""
    diagonal = torch.where(torch.isnan(matrix.diagonal(dim1=-2, dim2=-1)), torch.nan, 1.0)
    return matrix.diagonal_scatter(diagonal.to(matrix), dim1=-2, dim2=-1)


def _cosine(dots: Tensor, sq: Tensor) -> Tensor:
    """Dot products over lengths; NaN where a squared length is not positive."""
    length = torch.where(sq > 0, sq, torch.nan).sqrt()
    return dots / (length[..., :, None] * length[..., None, :])

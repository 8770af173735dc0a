"""Agreement between the geometries of two models or runs, whose widths need not be equal.

Two ways, neither of which needs a common space:

- the correlation of the two cosine matrices over all pairs of categories, with a permutation test
  that exchanges the names of the categories in one of them (Mantel 1967);
- linear CKA between the pair differences of the same pairs (Kornblith et al. 2019), with the
  unbiased HSIC of Song et al. 2012: 0 on average where the two have nothing in common.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry.products import PairProducts
from refusal_lens.intervals import t_quantile
from refusal_lens.records import Estimate, Record

DRAWS: Final = 9_999
_ROUNDING: Final = 1e-6  # spread, relative to the entries, up to which they are all alike


@final
@dataclass(frozen=True, eq=False)
class MatrixCorrelation(Record):
    """How alike two matrices of the same categories are, and the one-sided p of `draws` orders."""

    SCHEMA_VERSION: ClassVar[int] = 2

    correlation: Estimate
    p: float
    draws: int

    def __repr__(self) -> str:
        return f"{self.correlation}, p {self.p:.4f} of {self.draws:,} permutations"


def matrix_correlation(
    first: Float[Tensor, "category category"],
    second: Float[Tensor, "other other"],
    *,
    draws: int = DRAWS,
    seed: int = 0,
) -> MatrixCorrelation:
    """Pearson correlation of two symmetric matrices off the diagonal, such as cosines.

    The interval leaves out one category at a time (jackknife), as entries that share a category
    are not independent; the control is the mean over permutations of the categories of one
    matrix, and p = (b + 1) / (B + 1), one-sided: more alike than chance. n counts entries. There is
    no interval where the entries that are left without some category are all alike.

    >>> import torch
    >>> drawn = torch.rand(5, 5)
    >>> matrix_correlation(drawn + drawn.T, drawn + drawn.T).correlation.value
    1.0

    Raises:
        InputError: different shapes, undefined entries, entries off the diagonal that are all
            alike, fewer than four categories or permutations fewer than 9,999.
    """
    a, b = first.double().numpy(), second.double().numpy()
    if a.shape != b.shape or len(a) < 4:
        raise InputError(
            f"matrices of shapes {a.shape} and {b.shape}; expected equal ones of at least "
            "4 categories"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError("a matrix has undefined entries; leave those categories out")
    if not correlated(first, second):
        raise InputError(
            "the entries of a matrix off its diagonal are all alike, so that no correlation is "
            "defined; expected ones that differ"
        )
    if draws < DRAWS:
        raise InputError(f"{draws} permutations are too few; give at least {DRAWS}")
    size = len(a)
    value = float(_correlations(a, b, np.arange(size)[None])[0])
    random = np.random.default_rng(seed)
    orders = np.argsort(random.random((draws, size)), axis=1)
    drawn = _correlations(a, b, orders)
    p = (np.sum(drawn >= value - 1e-12) + 1) / (draws + 1)
    kept = [np.delete(np.arange(size), i) for i in range(size)]
    as_it_is = np.arange(size - 1)[None]
    parts = [(a[np.ix_(k, k)], b[np.ix_(k, k)]) for k in kept]
    low = high = None
    if all(_vary(x) and _vary(y) for x, y in parts):
        left = np.array([_correlations(x, y, as_it_is)[0] for x, y in parts])
        error = np.sqrt((size - 1) / size * np.square(left - left.mean()).sum())
        half = float(t_quantile(size - 1)) * error
        low, high = float(max(-1.0, value - half)), float(min(1.0, value + half))
    method = "correlation of matrices, jackknife over categories; control: permuted"
    n = size * (size - 1) // 2
    return MatrixCorrelation(
        Estimate(value, low, high, n, method, float(drawn.mean())), float(p), draws
    )


def correlated(
    first: Float[Tensor, "category category"], second: Float[Tensor, "other other"]
) -> bool:
    """Whether two matrices have a correlation: all entries defined, and not all alike in either.

    Off the diagonal, up to rounding.

    >>> import torch
    >>> correlated(torch.rand(4, 4), torch.eye(4))
    False
    """
    matrices = first.double().numpy(), second.double().numpy()
    return all(bool(np.isfinite(m).all()) and _vary(m) for m in matrices)


def cka(a: PairProducts, b: PairProducts) -> float:
    """Linear CKA of the same pairs' differences in two models; 1 is equal up to rotation and scale.

    >>> import torch
    >>> drawn = [torch.randn(20, 32, dtype=torch.float64) + 1.0 for _ in range(3)]
    >>> products = rl.geometry.PairProducts.of(drawn)
    >>> cka(products, products)
    1.0

    Raises:
        InputError: other numbers of pairs, fewer than four, or one side without any spread.
    """
    if a.n != b.n or sum(a.n) < 4:
        raise InputError(f"pairs {a.n} and {b.n}: CKA needs the same pairs, at least 4")
    norms = _hsic(a.gram, a.gram) * _hsic(b.gram, b.gram)
    if norms <= 0:
        raise InputError("one side's differences have no spread: CKA is undefined")
    return _hsic(a.gram, b.gram) / norms**0.5


def _vary(matrix: Float[np.ndarray, "category category"]) -> bool:
    """Whether the entries above the diagonal differ by more than rounding."""
    entries = matrix[np.triu_indices(len(matrix), 1)]
    return bool(np.ptp(entries) > _ROUNDING * np.abs(entries).max())


def _correlations(
    a: Float[np.ndarray, "category category"],
    b: Float[np.ndarray, "category category"],
    orders: Int[np.ndarray, "draw category"],
) -> Float[np.ndarray, " draw"]:
    """Correlation off the diagonal under each order of b's categories."""
    i, j = np.triu_indices(len(a), 1)
    x = a[i, j] - a[i, j].mean()
    y = b[orders[:, i], orders[:, j]]
    y = y - y.mean(1, keepdims=True)
    return y @ x / np.sqrt(np.square(y).sum(1) * np.square(x).sum())


def _hsic(k: Float64[Tensor, "pair pair"], m: Float64[Tensor, "pair pair"]) -> float:
    """Unbiased HSIC (Song et al. 2012, equation 5)."""
    n = len(k)
    off = 1 - torch.eye(n, dtype=torch.float64)
    k, m = k * off, m * off
    rows = k.sum(0) @ m.sum(0)
    total = (k * m).sum() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)
    return float(total / (n * (n - 3)))

"""Category directions, orthonormal in a basis whitened by benign prompts (arXiv 2603.13359).

With W = (S + ridge tr(S)/d I)^-1/2 (ZCA), S the covariance of the comply side of all categories
around its mean, and D the categories' differences of means as rows, the whitened differences D W
are made unit vectors and orthonormalised, and brought back into the stream:

    V = M D,    with M G M^T = I,    G = D W^2 D^T,

so that V W has orthonormal rows. Two ways to choose M:

- symmetric (Löwdin; the default): M = (N G N)^-1/2 N with N = diag(G)^-1/2, the orthonormal
  vectors nearest to the whitened unit vectors. It doesn't depend on the order of the categories.
- in an order: Gram-Schmidt (QR), as in the paper: the first category keeps its difference, each
  later one loses what it shares with those before it. The order is therefore an argument.

Relation to the mean difference: for a single category, V is it; for categories whose differences
are orthogonal in the whitened basis, too. As `ridge` grows the basis becomes the plain one. Each
direction is a combination of the categories' mean differences: what tells a category from the
others. Cosines between the categories' directions are made by the construction (0 in the whitened
basis) and are no measurement; that is why geometry refuses this estimator (`Estimator.joint`).

The released code adds the whitened vectors D W to the stream as they are, after it kept only the
200 largest entries of each difference. Here they are brought back, since a vector of one basis is
another one in the other; entries aren't dropped, which depends on the basis. `ridge` is relative to
the mean variance (the published 1e-4 is absolute), and larger: with fewer benign prompts than
dimensions a tiny one weighs differences by the dimensions in which these prompts don't vary at all.
The paper's second step, which learns a mixture of these directions by gradients through the model,
is `refusal_lens.optimised.fit_combination`.
"""

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.arguments import several
from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.directions.estimator import (
    Differences,
    Estimator,
    average_along,
    noise_length,
    sets_along,
)
from refusal_lens.directions.ridge_mean_difference import (
    RIDGE,
    check_ridge,
    weighted_deviations,
)
from refusal_lens.errors import InputError
from refusal_lens.linalg import ridge_solve
from refusal_lens.prompts import COMPLY
from refusal_lens.residuals import Residuals, ResidualStats, index_axes

_METHOD: Final = "whitened orthonormal"
_DEPENDENT: Final = 1e-9
"""A squared length, of unit vectors, below which what is left of one counts as nothing."""


def fit_whitened_orthonormal(
    residuals: Residuals, *, ridge: float = RIDGE, order: Sequence[str] | None = None
) -> DirectionSet:
    """Whitened, orthonormalised category directions at every offset and site; see the module.

    Symmetric orthonormalisation, or Gram-Schmidt in the `order` given, which names every category.
    `scale` is the distance between the category's class means along its unit vector. A category is
    undefined where its means are equal or a side has no prompt, and is then left out of the basis;
    all are where their differences are linearly dependent (in an order: those that the ones before
    them span).

    >>> from refusal_lens.directions import fit_whitened_orthonormal
    >>> fit_whitened_orthonormal(model.residuals(prompts)).at("advice", layer=2)
    Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)

    Raises:
        InputError: `ridge` that is not positive, an `order` that does not name each category once,
            or residuals of plain texts.
    """
    check_ridge(ridge)
    return sets_along(*_axes(residuals, ridge, order), _METHOD)


def _fit_within(residuals: Residuals) -> DirectionSet:
    """The mean of the categories' directions, as long as the distance of the sides along it."""
    return average_along(*_axes(residuals, RIDGE, None), _METHOD)


def _axes(
    residuals: Residuals, ridge: float, order: Sequence[str] | None
) -> tuple[Differences, ResidualStats]:
    stats = residuals.stats()
    index = _indices(stats.categories, order)
    _, label = index_axes(residuals.labelled)
    benign = residuals.tensor[label == COMPLY].double()
    shares = torch.full((len(benign),), 1 / max(len(benign), 1), dtype=torch.float64)
    _, deviations = weighted_deviations(benign, shares)
    defined = stats.difference.norm(dim=-1) > noise_length(stats)
    axes = torch.full_like(stats.difference, torch.nan)
    for o, s in torch.cartesian_prod(*map(torch.arange, defined.shape[1:])).tolist():
        kept = [c for c in index if bool(defined[c, o, s])]
        if kept:
            differences = stats.difference[kept, o, s]
            gram = differences @ ridge_solve(deviations[:, o, s], differences.mT, ridge)
            mixing = _symmetric(gram) if order is None else _in_order(gram)
            axes[kept, o, s] = mixing @ differences
    return axes, stats


def _indices(categories: tuple[str, ...], order: Sequence[str] | None) -> list[int]:
    if order is None:
        return list(range(len(categories)))
    names = several(order, str, what="category of `order`", write=f"order={list(categories)}")
    if sorted(names) != sorted(categories):
        raise InputError(
            f"order {list(names)} must name each category of the residuals once: {list(categories)}"
        )
    return [categories.index(name) for name in names]


def _symmetric(
    gram: Float64[Tensor, "category category"],
) -> Float64[Tensor, "category category"]:
    """(N G N)^-1/2 N, N = diag(G)^-1/2 (Löwdin); NaN for dependent vectors."""
    scale = gram.diagonal().rsqrt()
    values, vectors = torch.linalg.eigh(scale[:, None] * gram * scale)
    if float(values.min()) < _DEPENDENT:
        return torch.full_like(gram, torch.nan)
    return vectors / values.sqrt() @ vectors.mT * scale


def _in_order(
    gram: Float64[Tensor, "category category"],
) -> Float64[Tensor, "category category"]:
    """Rows that make each category orthogonal to those before it; NaN for one in their span."""
    scale = gram.diagonal().rsqrt()
    cosines = scale[:, None] * gram * scale
    mixing = torch.full_like(gram, torch.nan)
    independent: list[int] = []
    for c in range(len(gram)):
        row = torch.zeros(len(gram), dtype=gram.dtype)
        row[c] = 1.0
        if independent:
            before = cosines[independent][:, independent]
            row[independent] = -torch.linalg.solve(before, cosines[independent, c])
        left = float(row @ cosines @ row)
        if left > _DEPENDENT:
            mixing[c] = row / left**0.5 * scale
            independent.append(c)
    return mixing


ESTIMATOR: Final = Estimator(
    "whitened_orthonormal",
    fit_whitened_orthonormal,
    fit_within=_fit_within,
    joint=True,
    one_sided=True,
)

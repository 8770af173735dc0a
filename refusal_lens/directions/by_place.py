"""Estimators of an axis, which are fitted at one offset and site at a time.

Such an estimator is a function from the residuals of prompts at one place to an axis. Here it is
called for each category by itself, or once for all of them, and gives the same kind of direction
set: turned towards refusal, as long as the gap of the class means along it. Memory holds the
float64 residuals of one place.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from refusal_lens.arguments import one
from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.directions.estimator import (
    average_over_categories,
    noise_length,
    sets_along,
)
from refusal_lens.linalg import unit
from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.residuals import Residuals, index_axes, pair_rows
from refusal_lens.sums import Sides

AxisOf = Callable[[Float64[Tensor, "prompt d_model"], Sides], Float64[Tensor, " d_model"]]
"""Residuals at one place and where their rows belong -> an axis of any length and sign."""


def fit_axes(residuals: Residuals, axis_of: AxisOf, method: str) -> DirectionSet:
    """The axis of each category from its prompts alone.

    Undefined where a side has no prompt, the means differ by no more than rounding noise, or a
    residual is not finite.
    """
    residuals = one(residuals, Residuals, what="residuals", write="model.residuals(prompts)")
    category, _ = index_axes(residuals.labelled)
    stats = residuals.stats()
    defined = stats.difference.norm(dim=-1) > noise_length(stats)
    axes = [
        _axes(residuals, (category == c).nonzero().squeeze(1), axis_of, defined[c])
        for c in range(len(stats.categories))
    ]
    return sets_along(torch.stack(axes), stats, method)


def fit_axes_within(residuals: Residuals, axis_of: AxisOf, method: str) -> DirectionSet:
    """One axis, called "pooled", from the prompts of every category with both sides.

    `axis_of` sees the categories in `Sides`, and gives each the same weight. The scale, and the
    sign, are those of the mean over categories of the gaps of their class means.
    """
    category, _ = index_axes(residuals.labelled)
    stats = residuals.stats()
    both = (stats.count > 0).all(1)
    difference = stats.difference[both].mean(0)
    defined = difference.norm(dim=-1) > noise_length(stats.pooled())[0]
    rows = both[category].nonzero().squeeze(1)
    axes = unit(_axes(residuals, rows, axis_of, defined))
    gap = (axes * difference).sum(-1, keepdim=True)
    differences = (axes * gap).expand(len(both), *axes.shape)
    return average_over_categories(stats, f"{method} within categories", differences)


def _axes(
    residuals: Residuals,
    rows: Int64[Tensor, " row"],
    axis_of: AxisOf,
    defined: Bool[Tensor, "offset site"],
) -> Float64[Tensor, "offset site d_model"]:
    sides = _sides_of(residuals, rows)
    axes = torch.full((*defined.shape, residuals.tensor.shape[-1]), torch.nan).double()
    for o, offset in enumerate(residuals.offsets):
        for s, site in enumerate(residuals.sites):
            if bool(defined[o, s]):  # false, too, where the statistics are not finite
                axes[o, s] = axis_of(residuals.at(site, offset)[rows].double(), sides)
    return axes


def _sides_of(residuals: Residuals, rows: Int64[Tensor, " row"]) -> Sides:
    category, label = index_axes(residuals.labelled)
    place = torch.full((len(category),), -1)
    place[rows] = torch.arange(len(rows))
    pairs = place[pair_rows(residuals.labelled)]
    return Sides(
        category[rows].unique(return_inverse=True)[1],
        label[rows],
        pairs[(pairs >= 0).all(1)],
    )


def cell_means(
    x: Float64[Tensor, "prompt d_model"], sides: Sides
) -> Float64[Tensor, "category label d_model"]:
    """The mean of each side of each category."""
    n = cell_counts(sides)
    total = torch.zeros(*n.shape, x.shape[1], dtype=x.dtype)
    return total.index_put_((sides.category, sides.label), x, accumulate=True) / n[..., None]


def cell_counts(sides: Sides) -> Float64[Tensor, "category label"]:
    """How many prompts each side of each category has."""
    n = torch.zeros(int(sides.category.max()) + 1, 2, dtype=torch.float64)
    ones = torch.ones(len(sides.label), dtype=torch.float64)
    return n.index_put_((sides.category, sides.label), ones, accumulate=True)


def category_weights(sides: Sides) -> Float64[Tensor, " prompt"]:
    """Weights of the prompts with sum 1, in which each category weighs the same."""
    n = cell_counts(sides).sum(1)
    return 1 / (len(n) * n[sides.category])


def mean_of_differences(means: Float64[Tensor, "category label d_model"]) -> Tensor:
    """Mean over categories of refuse minus comply."""
    return (means[:, REFUSE] - means[:, COMPLY]).mean(0)

"""The ridge mean difference (RMD) of Refusal Steering (arXiv 2512.16602).

    r = (S + lambda tr(S)/d I)^-1 (mu_refuse - mu_comply),    lambda = .1

S is the covariance of the comply side around its mean (divided by its number of prompts), so that
dimensions in which answered prompts vary much count little. Formula and lambda as published in
ElSnacko/llm-steering, a reimplementation, which adds lambda I; here lambda is relative to the mean
variance over dimensions, because the stream's variance grows by orders of magnitude from the first
layer to the last.

Relation to the mean difference: as lambda grows, r becomes the mean difference's direction; so it
does where the comply side varies by the same amount in every dimension. As lambda goes to 0, and
both sides are Gaussian with one covariance, r is the direction of linear discriminant analysis,
which takes the covariance of both sides instead of one. It is a direction to read along (a filter):
what differs between the sides in one dimension appears with weight in those that correlate with it.
"""

import math
from typing import Final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.directions.estimator import (
    NOISE_FLOOR,
    Differences,
    Estimator,
    average_along,
    sets_along,
)
from refusal_lens.errors import InputError
from refusal_lens.linalg import ridge_solve
from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.residuals import Residuals, index_axes

RIDGE: Final = 0.1
"""Lambda as published, here times the mean variance over dimensions."""


def fit_ridge_mean_difference(residuals: Residuals, *, ridge: float = RIDGE) -> DirectionSet:
    """The ridge mean difference by category, offset and site; see the module.

    `scale` is the distance between the two class means along the unit vector, in residual-stream
    units. Undefined as for means. Where the comply side doesn't vary it is the mean difference.

    >>> from refusal_lens.directions import fit_ridge_mean_difference
    >>> fit_ridge_mean_difference(model.residuals(prompts)).at("advice", layer=2)
    Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)

    Raises:
        InputError: `ridge` that is not positive, or residuals of plain texts.
    """
    check_ridge(ridge)
    return sets_along(_axes(residuals, ridge), residuals.stats(), _METHOD)


def _fit_within(residuals: Residuals) -> DirectionSet:
    """The mean of the categories' directions, as long as the distance of the sides along it."""
    return average_along(_axes(residuals, RIDGE), residuals.stats(), _METHOD)


def _axes(residuals: Residuals, ridge: float) -> Differences:
    return ridge_axes(residuals, torch.ones(len(residuals), dtype=torch.float64), ridge)


def ridge_axes(
    residuals: Residuals, weight: Float64[Tensor, " prompt"], ridge: float
) -> Differences:
    """(S + ridge tr(S)/d I)^-1 (mu_refuse - mu_comply), NaN where a side has no prompt.

    Every prompt has its weight in the means and in S.
    """
    category, label = index_axes(residuals.labelled)
    n_categories = len(residuals.labelled.categories)
    axes = torch.full((n_categories, *residuals.tensor.shape[1:]), torch.nan, dtype=torch.float64)
    for c in range(n_categories):
        rows = [(category == c) & (label == side) for side in (REFUSE, COMPLY)]
        if not all(bool(side.any()) for side in rows):
            continue
        shares = [weight[side] / weight[side].sum() for side in rows]
        refuse, comply = (residuals.tensor[side].double() for side in rows)
        centre, deviations = weighted_deviations(comply, shares[1])
        difference = torch.einsum("p,posd->osd", shares[0], refuse) - centre
        for o, s in torch.cartesian_prod(*map(torch.arange, difference.shape[:2])).tolist():
            axes[c, o, s] = ridge_solve(deviations[:, o, s], difference[o, s, :, None], ridge)[:, 0]
    return axes


def weighted_deviations(
    x: Float64[Tensor, "prompt offset site d_model"], share: Float64[Tensor, " prompt"]
) -> tuple[Float64[Tensor, "offset site d_model"], Float64[Tensor, "prompt offset site d_model"]]:
    """The mean, and the deviations from it times the root of the shares, which sum to 1.

    The covariance is the deviations' product with themselves. Where they are rounding noise, as of
    a token that is the same in every prompt, they are zero: noise has no shape.
    """
    centre = torch.einsum("p,posd->osd", share, x)
    deviations = (x - centre) * share.sqrt()[:, None, None, None]
    spread = deviations.square().sum((0, -1)).sqrt()
    noise = spread <= NOISE_FLOOR * centre.norm(dim=-1)
    return centre, torch.where(noise[..., None], 0.0, deviations)


def check_ridge(ridge: float) -> None:
    """Reject a ridge that is not positive.

    Raises:
        InputError: it is zero, negative or not finite.
    """
    if not (ridge > 0 and math.isfinite(ridge)):
        raise InputError(
            f"ridge {ridge} must be a positive number: it is a share of the mean variance over "
            f"dimensions ({RIDGE} by default)"
        )


_METHOD: Final = "ridge mean difference"

ESTIMATOR: Final = Estimator(
    "ridge_mean_difference", fit_ridge_mean_difference, fit_within=_fit_within, one_sided=True
)

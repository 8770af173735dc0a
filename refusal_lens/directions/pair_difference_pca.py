"""The pair-difference estimator: first principal axis of the differences within pairs.

With d_i refuse minus comply of pair i, it is the unit vector u of the largest sum_i (d_i . u)^2,
turned so that the class means' gap along it is positive. The differences are not centred on their
mean. That is the first component of pair-centred states (each prompt minus the mean of its pair),
whose mean is zero, as CAST takes it (Lee et al. 2024, arXiv:2409.05907); and what representation
engineering's reader tends to (Zou et al. 2023, arXiv:2310.01405, section 3.1), which gives the
differences random signs before it centres and so takes no more than chance off them.

The mean of d_i d_i^T is m m^T, m the mean difference, plus the covariance of the differences. So u
is m where the differences are equal or vary alike in all directions. Where they vary along one axis
by more than |m|^2, u is that axis, whatever it has to do with refusal: shuffled labels give it too.
Its scale is then small, for that is |m . u|. It is smooth in the pairs while the largest eigenvalue
is clearly above the next.
"""

from typing import Final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.arguments import one
from refusal_lens.directions.by_place import fit_axes, fit_axes_within
from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.directions.estimator import Estimator
from refusal_lens.errors import InputError
from refusal_lens.linalg import row_space
from refusal_lens.prompts import LABELS
from refusal_lens.residuals import Residuals
from refusal_lens.sums import Sides

_METHOD: Final = "pair difference pca"


def fit_pair_difference_pca(residuals: Residuals) -> DirectionSet:
    """First principal axis of pair differences, not centred, by category, offset and site.

    `scale` is the distance between the class means along it. Prompts without a twin enter there
    alone. Undefined as for means, and of a category without pairs.

    >>> fit_pair_difference_pca(model.residuals(prompts)).at("advice", layer=2)
    Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)

    Raises:
        InputError: residuals of plain texts; categories with prompts on both sides, but no pair in
            any of them.
    """
    return fit_axes(_paired(residuals), _first_axis, _METHOD)


def _fit_within(residuals: Residuals) -> DirectionSet:
    """The axis of all pairs, those of each category with the same weight in sum."""
    return fit_axes_within(_paired(residuals), _first_axis, _METHOD)


def _paired(residuals: Residuals) -> Residuals:
    residuals = one(residuals, Residuals, what="residuals", write="model.residuals(prompts)")
    prompts = residuals.labelled
    both = [
        c
        for c in prompts.categories
        if len({p.label for p in prompts if p.category == c}) == len(LABELS)
    ]
    if both and not prompts.pairs():
        raise InputError(
            f"no category of {both} has pairs; pair_difference_pca needs prompts whose refuse side "
            "and twin share a `pair`; pair them, or use mean_difference"
        )
    return residuals


def _first_axis(x: Float64[Tensor, "prompt d_model"], sides: Sides) -> Float64[Tensor, " d_model"]:
    if not len(sides.pairs):
        return torch.full_like(x[0], torch.nan)
    refuse, comply = sides.pairs.T
    category = sides.category[refuse]
    n = torch.bincount(category)[category]
    _, axes = row_space((x[refuse] - x[comply]) / n.double().sqrt()[:, None])
    return axes[:, -1] if axes.shape[1] else torch.full_like(x[0], torch.nan)


ESTIMATOR: Final = Estimator("pair_difference_pca", fit_pair_difference_pca, fit_within=_fit_within)

"""The median-difference estimator: spatial median of the refuse side minus that of the comply side.

The spatial (geometric) median of a side is the point with the least sum of distances to its
prompts: a few prompts far from the rest, which draw a mean after them, hardly move it, and it turns
with the stream when that is rotated, as the coordinate-wise median does not. It is smooth in its
prompts, so that jackknife intervals hold. Found by Weiszfeld's iteration, and where the median is
one of the prompts by the criterion of Vardi & Zhang 2000 (doi.org/10.1073/pnas.97.4.1423).
"""

from typing import Final

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.directions.estimator import Estimator, sets_of
from refusal_lens.prompts import COMPLY, LABELS, REFUSE
from refusal_lens.residuals import Residuals, index_axes

_MOST: Final = 2000  # iterations
_CLOSE: Final = 1e-9  # relative to the spread: a step, or a distance to a prompt, that counts as 0


def fit_median_difference(residuals: Residuals) -> DirectionSet:
    """Unit difference of spatial medians by category, offset and site; undefined as for means.

    `scale` is the distance between the two medians, `low` and `high` are the coordinates of the
    class means.

    >>> fit_median_difference(model.residuals(prompts)).at("advice", layer=2)
    Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)

    Raises:
        InputError: residuals of plain texts.
    """
    category, label = index_axes(residuals.labelled)
    stats = residuals.stats()
    medians = torch.full(stats.mean.shape, torch.nan, dtype=torch.float64)
    for c in range(len(stats.categories)):
        for side in range(len(LABELS)):
            x = residuals.tensor[(category == c) & (label == side)]
            if len(x):
                medians[c, side] = spatial_median(x.double())
    return sets_of(medians[:, REFUSE] - medians[:, COMPLY], stats, "median difference")


def spatial_median(
    x: Float64[Tensor, "prompt *place d_model"],
) -> Float64[Tensor, "*place d_model"]:
    """The point of least summed distance to the prompts, at each place by itself.

    Of two prompts every point between them is one; the middle is taken.

    >>> spatial_median(torch.tensor([[0.0], [1.0], [9.0]]).double()).round(decimals=3)
    tensor([1.], dtype=torch.float64)
    """
    y = x.mean(0)
    spread = (x - y).norm(dim=-1).mean(0)
    is_prompt, at = _prompt_at_median(x, spread)
    for _ in range(_MOST):
        distance = (x - y).norm(dim=-1)
        weight = torch.where(distance > _CLOSE * spread, 1 / distance, 0.0)
        total = weight.sum(0)
        target = (weight[..., None] * x).sum(0) / total.clamp(min=1e-300)[..., None]
        # A prompt at the iterate holds it with a pull of 1, against the pull of all others.
        near = (distance <= _CLOSE * spread).sum(0)
        pull = total * (target - y).norm(dim=-1)
        share = (1 - near / pull.clamp(min=1e-300)).clamp(0, 1)
        step = share[..., None] * torch.where(total[..., None] > 0, target - y, 0.0)
        y = y + step
        moving = step.norm(dim=-1) > _CLOSE * spread  # not where a residual is not finite
        if not bool((moving & ~is_prompt).any()):
            break
    return torch.where(is_prompt[..., None], at, y)


def _prompt_at_median(
    x: Float64[Tensor, "prompt *place d_model"], spread: Float64[Tensor, "*place"]
) -> tuple[Bool[Tensor, "*place"], Float64[Tensor, "*place d_model"]]:
    """Where the median is one of the prompts, and that prompt: Vardi & Zhang 2000, equation 2.7.

    There the others' unit pulls sum to at most the count of prompts at that point, and
    Weiszfeld's iteration only creeps towards it.
    """
    points = x.movedim(0, -2)
    distance = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    far = distance > _CLOSE * spread[..., None, None]
    weight = torch.where(far, 1 / distance, 0.0)
    pull = (weight @ points - weight.sum(-1, keepdim=True) * points).norm(dim=-1)
    slack, index = ((~far).sum(-1) - pull).max(-1)
    # Of two prompts both would do by this, up to rounding: the iteration gives the middle.
    return slack > _CLOSE, points.take_along_dim(index[..., None, None], -2).squeeze(-2)


ESTIMATOR: Final = Estimator("median_difference", fit_median_difference)

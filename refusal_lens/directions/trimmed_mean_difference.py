"""The trimmed-mean-difference estimator: each side's mean with its farthest prompts weighed down.

Each prompt weighs 1 / (1 + (r / c)^8), r its distance from the spatial median of its side. The
radius c is the one at which the weights of a side sum to the share of its prompts that is kept, 90%
by default, as they do in a trimmed mean, which they become if 8 grows without bound. A trimmed mean
proper leaves out whole prompts, and jumps when a pair that is left out changes which ones: its
jackknife intervals do not hold. These weights, and c with them, are smooth in the prompts.

It turns with the stream when that is rotated, as coordinate-wise trimming does not. A prompt far
off has an influence that goes to zero with its distance, as long as such prompts are fewer than the
share left out; beyond, it is drawn as the mean is. Where all prompts are about as far from the
median, as in many dimensions without outliers, all weigh the same and it is the mean difference, as
it is with a share of 0.
"""

from typing import Final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.arguments import one
from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.directions.estimator import Estimator, sets_of
from refusal_lens.directions.median_difference import spatial_median
from refusal_lens.errors import InputError
from refusal_lens.prompts import COMPLY, LABELS, REFUSE
from refusal_lens.residuals import Residuals, index_axes

SHARE: Final = 0.1
_STEEPNESS: Final = 8
_HALVINGS: Final = 60


def fit_trimmed_mean_difference(residuals: Residuals, *, share: float = SHARE) -> DirectionSet:
    """Unit difference of smoothly trimmed means by category, offset and site.

    `share` is the part of each side's weight that is taken away. `scale` is the distance between
    the two trimmed means, `low` and `high` are the coordinates of the class means; undefined as for
    means.

    >>> fit_trimmed_mean_difference(model.residuals(prompts), share=0.2).at("advice", layer=2)
    Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)

    Raises:
        InputError: a share that is not from 0 to below .5; residuals of plain texts.
    """
    if not 0 <= share < 0.5:
        raise InputError(f"share {share!r} of the weight to trim; expected 0 <= share < 0.5")
    residuals = one(residuals, Residuals, what="residuals", write="model.residuals(prompts)")
    category, label = index_axes(residuals.labelled)
    stats = residuals.stats()
    means = torch.full(stats.mean.shape, torch.nan, dtype=torch.float64)
    for c in range(len(stats.categories)):
        for side in range(len(LABELS)):
            x = residuals.tensor[(category == c) & (label == side)]
            for o in range(x.shape[1] if len(x) else 0):
                means[c, side, o] = trimmed_mean(x[:, o].double(), share)
    method = "trimmed mean difference" + ("" if share == SHARE else f" (share {share:g})")
    return sets_of(means[:, REFUSE] - means[:, COMPLY], stats, method)


def trimmed_mean(
    x: Float64[Tensor, "prompt *place d_model"], share: float = SHARE
) -> Float64[Tensor, "*place d_model"]:
    """Mean over prompts with weights that fall with the distance from the spatial median.

    >>> x = torch.tensor([[0.0], [1.0], [2.0], [3.0], [1000.0]]).double()
    >>> trimmed_mean(x, share=0.3).round(decimals=1)
    tensor([1.6], dtype=torch.float64)
    """
    if share == 0:
        return x.mean(0)
    weight = smooth_weights((x - spatial_median(x)).norm(dim=-1), share)
    return (weight[..., None] * x).sum(0) / weight.sum(0)[..., None]


def smooth_weights(
    distance: Float64[Tensor, " prompt *place"], share: float
) -> Float64[Tensor, " prompt *place"]:
    """1 / (1 + (r / c)^8) with mean 1 - `share`; all 1 where every distance is 0.

    Where more prompts than 1 - `share` are at the median, the others weigh next to nothing.
    """
    most = distance.amax(0)
    ratio = (distance / torch.where(most > 0, most, 1.0)).clamp(min=1e-12).log()
    low, high = torch.full_like(most, -20.0), torch.full_like(most, 20.0)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        too_small = torch.sigmoid(_STEEPNESS * (middle - ratio)).mean(0) < 1 - share
        low, high = torch.where(too_small, middle, low), torch.where(too_small, high, middle)
    weight = torch.sigmoid(_STEEPNESS * (high - ratio))
    return torch.where(most > 0, weight, 1.0)


ESTIMATOR: Final = Estimator("trimmed_mean_difference", fit_trimmed_mean_difference)

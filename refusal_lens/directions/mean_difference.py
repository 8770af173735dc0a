"""The mean-difference estimator: mean of the refuse side minus mean of the comply side."""

from typing import Final

from jaxtyping import Bool
from torch import Tensor

from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.directions.estimator import (
    Data,
    Estimator,
    average_over_categories,
    noise_length,
    sets_of,
)
from refusal_lens.residuals import ResidualStats

MEAN_DIFFERENCE: Final = "mean_difference"


def above_noise(stats: ResidualStats) -> Bool[Tensor, "category offset site"]:
    """Where the two means differ by more than rounding noise."""
    return stats.difference.norm(dim=-1) > noise_length(stats)


def fit_mean_difference(data: Data) -> DirectionSet:
    """Unit difference-in-means by category, offset and site (Arditi et al. 2024, section 2.3).

    `data` is `Residuals` or the statistics of a pass. Where the length is below `NOISE_FLOOR` times
    the root mean square norm of the stream, or a side has no prompt, there is no direction: the
    vector is NaN and its scale 0 ("undefined").

    >>> stats = model.residual_stats(prompts.only(split="train"))
    >>> rl.fit_mean_difference(stats).at("advice", layer=2)
    Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)

    Mean of the refuse side minus mean of the comply side: positive is towards refusal. Vectors have
    length 1; `scale` is the length of the difference, in residual-stream units.

    Raises:
        InputError: residuals of plain texts.
    """
    return ESTIMATOR(data)


def fit_within_categories(data: Data) -> DirectionSet:
    """One direction, called "pooled": the mean over categories of their differences in means.

    See `Estimator.within_categories`.

    >>> stats = model.residual_stats(prompts.only(split="train"))
    >>> fit_within_categories(stats).categories
    ('pooled',)
    """
    return ESTIMATOR.within_categories(data)


def _fit(stats: ResidualStats) -> DirectionSet:
    return sets_of(stats.difference, stats, "mean difference")


def _fit_within(stats: ResidualStats) -> DirectionSet:
    return average_over_categories(stats, "mean difference within categories")


ESTIMATOR: Final = Estimator(
    MEAN_DIFFERENCE, _fit, fit_within=_fit_within, from_sums=True, mean_of_pairs=True
)

"""The mean-difference estimator: mean of the refuse side minus mean of the comply side."""

from typing import Final

import torch
from jaxtyping import Bool
from torch import Tensor

from refusal_lens.directions.base import DirectionSet
from refusal_lens.linalg import unit
from refusal_lens.residuals import COMPLY, REFUSE, ResidualStats

# Template tokens before the first attention are the same for every prompt: their difference is
# zero, or rounding noise (1e-14 of the stream's norm was seen). Float32 resolves about 1e-7.
NOISE_FLOOR: Final = 1e-6


def above_noise(stats: ResidualStats) -> Bool[Tensor, "category offset site"]:
    """Where the two means differ by more than `NOISE_FLOOR` times the stream's rms norm."""
    n = stats.count.sum(1).double()[:, None, None]
    rms = (stats.sq_norm.sum(1) / n).sqrt()
    return stats.difference.norm(dim=-1) > NOISE_FLOOR * rms


def fit_within_categories(stats: ResidualStats) -> DirectionSet:
    """One direction, called "pooled": the mean over categories of their differences in means.

    Each category weighs the same however many of its prompts stand on either side, so that a
    category that is refused more often does not enter with its topic, as it would if all prompts
    of a side were averaged at once. `low` and `high` are means over categories of the coordinates.
    Categories without prompts on both sides are left out.

    >>> stats = model.residual_stats(prompts.only(split="train"))
    >>> fit_within_categories(stats).categories
    ('pooled',)
    """
    both = (stats.count > 0).all(1)
    weight = both.double() / both.sum().clamp(min=1)
    mean = torch.where(both[:, None, None, None, None], stats.mean, 0.0)
    centre = torch.einsum("c,closd->losd", weight, mean)
    pooled = stats.pooled()
    difference = centre[REFUSE] - centre[COMPLY]
    length = difference.norm(dim=-1)
    rms = (pooled.sq_norm.sum(1)[0] / pooled.count.sum().double()).sqrt()
    defined = (length > NOISE_FLOOR * rms) & both.any()
    vectors = torch.where(defined[..., None], unit(difference), torch.nan)
    coordinate = torch.einsum("losd,osd->los", centre, vectors)
    return DirectionSet(
        method="mean difference within categories",
        categories=pooled.categories,
        offsets=stats.offsets,
        sites=stats.sites,
        vectors=vectors[None].float(),
        scale=torch.where(defined, length, 0.0)[None].float(),
        low=coordinate[None, COMPLY].float(),
        high=coordinate[None, REFUSE].float(),
        count=((int(stats.count[both, REFUSE].sum()), int(stats.count[both, COMPLY].sum())),),
        provenance=stats.provenance,
    )


def fit_mean_difference(stats: ResidualStats) -> DirectionSet:
    """Unit difference-in-means by category, offset and site (Arditi et al. 2024, section 2.3).

    Where the length is below `NOISE_FLOOR` times the root mean square norm of the stream, or a
    side has no prompt, there is no direction: the vector is NaN and its scale 0 ("undefined").

    >>> stats = model.residual_stats(prompts.only(split="train"))
    >>> rl.fit_mean_difference(stats).at("advice", layer=2)
    Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)
    """
    difference = stats.difference
    length = difference.norm(dim=-1)
    defined = above_noise(stats)
    vectors = torch.where(defined[..., None], unit(difference), torch.nan)
    coordinate = torch.einsum("closd,cosd->clos", stats.mean, vectors)
    return DirectionSet(
        method="mean difference",
        categories=stats.categories,
        offsets=stats.offsets,
        sites=stats.sites,
        vectors=vectors.float(),
        scale=torch.where(defined, length, 0.0).float(),
        low=coordinate[:, COMPLY].float(),
        high=coordinate[:, REFUSE].float(),
        count=tuple((int(a), int(b)) for a, b in stats.count.tolist()),
        provenance=stats.provenance,
    )

"""What an estimator is: `Residuals` in, `DirectionSet` out; and what estimators share.

Each estimator is a file of this folder that defines `ESTIMATOR`; `registry` finds it by that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.arguments import one
from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.linalg import unit
from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.residuals import Residuals, ResidualStats

# Template tokens before the first attention are the same for every prompt: their difference is
# zero, or rounding noise (1e-14 of the stream's norm was seen). Float32 resolves about 1e-7.
NOISE_FLOOR: Final = 1e-6

Data = Residuals | ResidualStats
Differences = Float64[Tensor, "category offset site d_model"]


@final
@dataclass(frozen=True)
class Estimator:
    """A way to fit one direction per category, offset and site; positive points towards refusal.

    `fit` takes `ResidualStats` where sums suffice (`from_sums`, fitted in constant memory), else
    `Residuals`. With `mean_of_pairs` what it fits is the mean over pairs of refuse minus comply,
    whose errors have a closed form; for others geometry leaves out each pair in turn.
    `fit_within` fits one direction from all categories, each of which weighs the same; by default
    the mean of their differences as `fit` gives them; an estimator that counts other prompts on a
    side than those with its label needs its own. With `joint` the direction of a category
    depends on the prompts of the others: cosines between categories are then made by the estimator.
    One that is not `smooth` jumps where a pair is left out, so that jackknife intervals do not hold
    for it. Geometry refuses both (`no_geometry`). `one_sided` treats the two sides differently:
    exchanged labels do more than turn the sign.

    >>> rl.directions.make_estimator("mean_difference").no_geometry is None
    True

    Raises:
        InputError: on sums, for an estimator that needs the residuals of each prompt.
    """

    name: str
    fit: Callable[..., DirectionSet]
    fit_within: Callable[..., DirectionSet] | None = None
    from_sums: bool = False
    mean_of_pairs: bool = False
    joint: bool = False
    smooth: bool = True
    one_sided: bool = False

    @property
    def no_geometry(self) -> str | None:
        """Why geometry by pairs, and so a study, can't be made with it; None where it can."""
        if self.joint:
            return "fits all categories jointly: cosines between its directions are made by it"
        if not self.smooth:
            return "jumps where a pair is left out: jackknife intervals do not hold for it"
        return None

    def __call__(self, data: Data) -> DirectionSet:
        """The directions of each category of `data`."""
        return self.fit(self._taken(data))

    def pooled(self, data: Data) -> DirectionSet:
        """One direction, called "pooled", of the prompts of all categories taken together."""
        return self.fit(self._taken(data).pooled())

    def within_categories(self, data: Data) -> DirectionSet:
        """One direction, called "pooled", of all categories, each of which weighs the same.

        So a category that is refused more often does not enter with its topic, as it would if all
        prompts of a side were pooled at once. Categories without prompts on both sides are left
        out.

        Raises:
            InputError: `fit` counts other prompts on a side than those with its label, and there is
                no `fit_within`.
        """
        taken = self._taken(data)
        if self.fit_within is not None:
            return self.fit_within(taken)
        fitted = self.fit(taken)
        stats = taken.stats() if isinstance(taken, Residuals) else taken
        counted = dict(zip(fitted.categories, fitted.count, strict=True))
        labelled = dict(zip(stats.categories, _counts(stats), strict=True))
        if counted != labelled:
            raise InputError(
                f"the estimator {self.name!r} counts {counted} prompts (refuse, comply), but "
                f"{labelled} have these labels: the class means of its sides are not known here; "
                "give the Estimator a fit_within"
            )
        method = f"{fitted.method} within categories"
        return average_over_categories(stats, method, _differences(fitted))

    def _taken(self, data: Data) -> Data:
        if self.from_sums:
            return data.stats() if isinstance(data, Residuals) else data
        if isinstance(data, ResidualStats):
            raise InputError(
                f"the estimator {self.name!r} needs the residuals of each prompt, found sums over "
                "them; give model.residuals(prompts) in place of model.residual_stats(prompts)"
            )
        return one(data, Residuals, what="residuals", write="model.residuals(prompts)")


def noise_length(stats: ResidualStats) -> Float64[Tensor, "category offset site"]:
    """`NOISE_FLOOR` times the root mean square norm of the stream: what is no longer is noise."""
    n = stats.count.sum(1).double()[:, None, None]
    return NOISE_FLOOR * (stats.sq_norm.sum(1) / n).sqrt()


def _scale(
    length: Float64[Tensor, "category offset site"], stats: ResidualStats
) -> Float64[Tensor, "category offset site"]:
    """The lengths; 0 where one is noise, and NaN where it is for a residual that is not finite."""
    missing = torch.where(stats.sq_norm.sum(1).isfinite(), 0.0, torch.nan)
    return torch.where(length > noise_length(stats), length, missing)


def sets_of(differences: Differences, stats: ResidualStats, method: str) -> DirectionSet:
    """Directions from each category's difference at its own length, refuse minus comply.

    Where it is not longer than `NOISE_FLOOR` times the root mean square norm of the stream, or a
    side has no prompt, there is no direction: the vector is NaN and its scale 0 ("undefined"), or
    NaN where a residual is not finite. `low` and `high` are the coordinates of the class means on
    the unit vector.
    """
    length = differences.norm(dim=-1)
    defined = length > noise_length(stats)
    vectors = torch.where(defined[..., None], unit(differences), torch.nan)
    return _direction_set(vectors, _scale(length, stats), stats, method)


def sets_along(axes: Differences, stats: ResidualStats, method: str) -> DirectionSet:
    """Directions along each category's axis, of any length and sign: for estimators of an axis.

    Each is turned so that the refuse side's mean lies further along it than the comply side's, and
    its `scale` is the distance between the two along it, so that strength 1 moves the stream from
    one mean's coordinate to the other's, whatever the estimator. Undefined where that distance is
    no longer than `NOISE_FLOOR` times the root mean square norm of the stream, as in `sets_of`.
    """
    directions = unit(axes.double())
    gap = torch.einsum("cosd,cosd->cos", stats.difference, directions)
    defined = gap.abs() > noise_length(stats)
    vectors = torch.where(defined[..., None], directions * gap.sign()[..., None], torch.nan)
    return _direction_set(vectors, _scale(gap.abs(), stats), stats, method)


def _direction_set(
    vectors: Differences,
    scale: Float64[Tensor, "category offset site"],
    stats: ResidualStats,
    method: str,
) -> DirectionSet:
    coordinate = torch.einsum("closd,cosd->clos", stats.mean, vectors)
    return DirectionSet(
        method=method,
        categories=stats.categories,
        offsets=stats.offsets,
        sites=stats.sites,
        vectors=vectors.float(),
        scale=scale.float(),
        low=coordinate[:, COMPLY].float(),
        high=coordinate[:, REFUSE].float(),
        count=_counts(stats),
        provenance=stats.provenance,
    )


def average_over_categories(
    stats: ResidualStats, method: str, differences: Differences | None = None
) -> DirectionSet:
    """One direction, called "pooled": the mean over categories of their differences.

    Those of the class means, or `differences`. `low` and `high` are means over categories of the
    class means' coordinates. Categories without prompts on both sides are left out.
    """
    centre = _centres(stats)
    difference = centre[REFUSE] - centre[COMPLY]
    if differences is not None:
        difference = torch.einsum("c,cosd->osd", _weights(stats), differences)
    return _pooled_set(stats, method, centre, unit(difference), difference.norm(dim=-1))


def average_along(axes: Differences, stats: ResidualStats, method: str) -> DirectionSet:
    """One direction, called "pooled": the mean over categories of what `sets_along` gives of each.

    As there, `scale` is the distance between the two sides along it, here of the means over
    categories of the class means. Categories without prompts on both sides are left out. `method`
    is that of `sets_along`; the set's own says "within categories" behind it.
    """
    differences = _differences(sets_along(axes, stats, method))
    axis = unit(torch.einsum("c,cosd->osd", _weights(stats), differences))
    centre = _centres(stats)
    gap = torch.einsum("osd,osd->os", centre[REFUSE] - centre[COMPLY], axis)
    within = f"{method} within categories"
    return _pooled_set(stats, within, centre, axis * gap.sign()[..., None], gap.abs())


def _pooled_set(
    stats: ResidualStats,
    method: str,
    centre: Float64[Tensor, "label offset site d_model"],
    vectors: Float64[Tensor, "offset site d_model"],
    length: Float64[Tensor, "offset site"],
) -> DirectionSet:
    both = (stats.count > 0).all(1)
    pooled = stats.pooled()
    defined = (length > noise_length(pooled)[0]) & both.any()
    vectors = torch.where(defined[..., None], vectors, torch.nan)
    coordinate = torch.einsum("losd,osd->los", centre, vectors)
    return DirectionSet(
        method=method,
        categories=pooled.categories,
        offsets=stats.offsets,
        sites=stats.sites,
        vectors=vectors[None].float(),
        scale=torch.where(both.any(), _scale(length[None], pooled), 0.0).float(),
        low=coordinate[None, COMPLY].float(),
        high=coordinate[None, REFUSE].float(),
        count=((int(stats.count[both, REFUSE].sum()), int(stats.count[both, COMPLY].sum())),),
        provenance=stats.provenance,
    )


def _weights(stats: ResidualStats) -> Float64[Tensor, " category"]:
    """The same for each category with prompts on both sides, 0 for the others."""
    both = (stats.count > 0).all(1)
    return both.double() / both.sum().clamp(min=1)


def _centres(stats: ResidualStats) -> Float64[Tensor, "label offset site d_model"]:
    """The class means, averaged over the categories with prompts on both sides."""
    both = (stats.count > 0).all(1)
    mean = torch.where(both[:, None, None, None, None], stats.mean, 0.0)
    return torch.einsum("c,closd->losd", _weights(stats), mean)


def _differences(directions: DirectionSet) -> Differences:
    """Each direction at its own length; 0 where it is undefined."""
    each = directions.vectors.double() * directions.scale[..., None].double()
    return each.nan_to_num(0.0)


def _counts(stats: ResidualStats) -> tuple[tuple[int, int], ...]:
    return tuple((int(a), int(b)) for a, b in stats.count.tolist())

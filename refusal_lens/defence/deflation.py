"""Directions one after the other: each is what is left to find when those before it are ablated.

The mean difference of *fixed* residuals has nothing left after one step: projecting the difference
out of every prompt makes the class means equal. A model has: while the span of the first k
directions is ablated at every layer it computes other residuals, and the mean difference of these
is the next direction, orthogonal to the span by construction (iterative nullspace projection,
Ravfogel et al., arXiv 2004.07667, with the model run again in each step). The ladder ends where no
difference is left.

Two sets of the literature are offered beside it: the neurons of a self-organising map (arXiv
2511.08379) and the whitened orthonormal directions of the categories (arXiv 2603.13359).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, final

import torch

from refusal_lens.directions import Direction, fit_som, fit_whitened_orthonormal, make_estimator
from refusal_lens.errors import InputError
from refusal_lens.interventions import AblateSubspace
from refusal_lens.linalg import orthonormal_basis
from refusal_lens.model import LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

DEFLATION: Final = "deflation"
SOM: Final = "som"
WHITENED: Final = "whitened"
SETS: Final = (DEFLATION, SOM, WHITENED)
_LEFT: Final = 1e-3
"""A direction of a given set counts where this share of it lies outside the span before it."""


@final
@dataclass(frozen=True)
class Place:
    """Where directions are fitted: a site and an offset from the end of the prompt.

    >>> rl.defence.Place(rl.Site(2)).offset
    -1
    """

    site: Site
    offset: int = -1


def ladder_directions(
    model: LensModel,
    prompts: PromptSet,
    place: Place,
    most: int,
    *,
    directions: str = DEFLATION,
    progress: Progress = NO_PROGRESS,
) -> tuple[Direction, ...]:
    """At most `most` linearly independent directions, the first the strongest of its set.

    `prompts` have the two sides as labels: what was intended, or what the model did. Fewer come
    back where no difference is left to fit.

    >>> place = rl.defence.Place(rl.Site(2))
    >>> rungs = rl.defence.ladder_directions(model, prompts, place, 2)
    >>> [d.category for d in rungs], abs(float(rungs[0].vector @ rungs[1].vector)) < 1e-4
    (['direction 1', 'direction 2'], True)

    Raises:
        InputError: an unknown set, fewer than one direction asked for, or none at this place.
    """
    if directions not in SETS:
        raise InputError(f"directions {directions!r} are unknown; use one of {list(SETS)}")
    if most < 1:
        raise InputError(f"a ladder of {most} directions has no rung; ask for at least 1")
    if directions == DEFLATION:
        fitted = _refitted(model, prompts, place, most, progress)
    else:
        resid = model.residuals(prompts, sites=(place.site,), offsets=(place.offset,))
        progress(len(prompts))
        tried = _of_map(resid, place) if directions == SOM else _of_categories(resid, place)
        fitted = independent(tried, most)
    if not fitted:
        raise InputError(
            f"the two sides do not differ at {place.site}, offset {place.offset}; choose another "
            "layer"
        )
    return tuple(replace(d, category=f"direction {i}") for i, d in enumerate(fitted, 1))


def _refitted(
    model: LensModel, prompts: PromptSet, place: Place, most: int, progress: Progress
) -> list[Direction]:
    """The mean difference of the model with the directions before it ablated at every layer."""
    estimator, fitted = make_estimator("mean_difference"), list[Direction]()
    for _ in range(most):
        edits = (AblateSubspace(tuple(fitted)),) if fitted else ()
        with model.editing(*edits):
            stats = model.residual_stats(prompts, sites=(place.site,), offsets=(place.offset,))
        progress(len(prompts))
        directions = estimator.within_categories(stats)
        try:
            new = directions.at_site("pooled", place.site, place.offset)
        except InputError:  # no longer than rounding
            break
        fitted.append(_off_span(new, fitted))
    return fitted


def deflate(
    residuals: Residuals, most: int, fit: Callable[[Residuals], Direction]
) -> tuple[Direction, ...]:
    """Directions of fixed residuals: each fitted where those before it are projected out.

    For estimators such as a logistic probe; the mean difference has nothing left after one step.
    Fewer than `most` come back where `fit` finds nothing.

    >>> def probe(left):
    ...     fitted = rl.directions.make_estimator("logistic_probe").pooled(left)
    ...     return fitted.at_site("pooled", left.sites[0], -1)
    >>> resid = model.residuals(prompts, sites=[rl.Site(2)])
    >>> len(deflate(resid, 2, probe))
    2
    """
    fitted: list[Direction] = []
    for _ in range(most):
        left = residuals
        if fitted:
            basis = orthonormal_basis(torch.stack([d.vector for d in fitted]))
            tensor = residuals.tensor - (residuals.tensor @ basis.mT) @ basis
            left = replace(residuals, tensor=tensor)
        try:
            new = fit(left)
        except InputError:  # undefined: no difference is left
            break
        fitted.append(_off_span(new, fitted))
    return tuple(fitted)


def independent(tried: list[Direction], most: int) -> list[Direction]:
    """The first `most` of which each has a part outside the span of those before it."""
    kept: list[Direction] = []
    for d in tried:
        if len(kept) == most:
            break
        if not kept or float(_rest(d, kept).norm()) > _LEFT:
            kept.append(d)
    return kept


def _rest(d: Direction, before: list[Direction]) -> torch.Tensor:
    basis = orthonormal_basis(torch.stack([b.vector for b in before]))
    return d.vector - (d.vector @ basis.mT) @ basis


def _off_span(new: Direction, before: list[Direction]) -> Direction:
    """The direction without what rounding left of it along those before it."""
    if not before:
        return new
    rest = _rest(new, before)
    return replace(new, vector=rest / rest.norm())


def _of_map(resid: Residuals, place: Place) -> list[Direction]:
    """The map's neurons, most won first, on the refuse side of all categories at once."""
    return list(fit_som(resid.pooled(), "pooled", place.site, place.offset).directions)


def _of_categories(resid: Residuals, place: Place) -> list[Direction]:
    """Each category's whitened direction where it is defined, the longest difference first."""
    fitted, each = fit_whitened_orthonormal(resid), list[Direction]()
    for category in fitted.categories:
        try:
            each.append(fitted.at_site(category, place.site, place.offset))
        except InputError:
            continue
    return sorted(each, key=lambda d: -d.scale)

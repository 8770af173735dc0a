"""Which layer separates best, which need not be the one that acts best."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction, several_directions
from refusal_lens.errors import InputError
from refusal_lens.intervals import jackknife_error, t_quantile
from refusal_lens.model import LensModel
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, Record


@final
@dataclass(frozen=True)
class Separation:
    """How far a direction's coordinate separates held-out prompts of either side.

    `distance` is the difference of the two means over the pooled standard deviation within sides.
    """

    layer: int
    offset: int
    distance: Estimate


@final
@dataclass(frozen=True)
class Separations(Record):
    """The separation at each candidate, by the same prompts."""

    SCHEMA_VERSION: ClassVar[int] = 1

    candidates: tuple[Separation, ...]

    @property
    def best(self) -> Separation:
        """The candidate that separates best."""
        return max(self.candidates, key=lambda c: c.distance.value or -torch.inf)

    def at(self, layer: int, offset: int) -> Separation | None:
        """The candidate there, if it is one of them."""
        return next((c for c in self.candidates if (c.layer, c.offset) == (layer, offset)), None)

    def best_exceeds(self, other: Separation) -> bool:
        """Whether the best candidate is above another by intervals that do not meet.

        Where they meet nothing is shown: these are intervals of the same prompts.
        """
        low, high = self.best.distance.low, other.distance.high
        return low is not None and high is not None and low > high


def measure_separation(
    model: LensModel, directions: Sequence[Direction], harmful: PromptSet, harmless: PromptSet
) -> Separations:
    """The separation along each direction, on prompts that it was not fitted on.

    >>> test = prompts.only(split="test")
    >>> sides = [test.only(label=label) for label in ("refuse", "comply")]
    >>> separations = measure_separation(model, [direction], *sides)
    >>> [(c.layer, c.offset) for c in separations.candidates]
    [(2, -1)]

    Raises:
        InputError: fewer than three prompts on a side.
    """
    directions = several_directions(directions)
    if min(len(harmful), len(harmless)) < 3:
        raise InputError(
            f"separation needs at least 3 prompts per side; found {len(harmful)} and "
            f"{len(harmless)}"
        )
    sites = tuple(dict.fromkeys(d.site for d in directions))
    offsets = tuple(dict.fromkeys(d.offset for d in directions))
    sides = [model.residuals(p, sites=sites, offsets=offsets) for p in (harmful, harmless)]
    separations: list[Separation] = []
    for d in directions:
        a, b = (side.at(d.site, d.offset).double() @ d.vector.double() for side in sides)
        separations.append(Separation(d.site.layer, d.offset, standardised_distance(a, b)))
    return Separations(tuple(separations))


def standardised_distance(a: Float[Tensor, " harmful"], b: Float[Tensor, " harmless"]) -> Estimate:
    """(mean a - mean b) / pooled standard deviation, with a jackknife over prompts; control 0."""
    method = (
        "standardised mean difference, jackknife over prompts, t interval; control: 0, equal means"
    )
    n = len(a) + len(b)
    value = _distance(a, b)
    without = [_distance(torch.cat([a[:i], a[i + 1 :]]), b) for i in range(len(a))]
    without += [_distance(a, torch.cat([b[:i], b[i + 1 :]])) for i in range(len(b))]
    half = float(t_quantile(n - 2) * jackknife_error(torch.tensor(without).double()))
    if not torch.isfinite(torch.tensor([value, half])).all():
        return Estimate(None, None, None, n, method, 0.0)
    return Estimate(value, value - half, value + half, n, method, 0.0)


def _distance(a: Tensor, b: Tensor) -> float:
    n, m = len(a), len(b)
    pooled = ((n - 1) * a.var() + (m - 1) * b.var()) / (n + m - 2)
    return float((a.mean() - b.mean()) / pooled.sqrt())

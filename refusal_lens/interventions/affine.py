"""Affine steering to a reference mean."""

import math
from dataclasses import dataclass
from typing import Literal, final

from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions.base import AlongOne
from refusal_lens.interventions.widths import check_width
from refusal_lens.linalg import fingerprint
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Affine(AlongOne):
    """Affine concept editing (ACE): x - proj(x) + proj(v) + strength * (high - low) * r.

    proj is the projection onto the unit direction r and v the mean of the comply side, whose
    coordinate the direction knows as `low`; `reference` gives another v. `strength` is the
    published alpha: 0 sets every vector's coordinate to that of the comply mean, 1 to that of the
    refuse mean (Marshall et al. 2024; Siu et al. 2025). It counts in `high - low`, which for an
    estimator other than the mean difference is not the direction's scale; in the scale where the
    direction does not know them.
    At the site where the direction was fitted, unless `at` names others.

    >>> moved = rl.Affine(direction, strength=1.0)(0.0 * direction.vector)
    >>> abs(float(moved @ direction.vector) - direction.high) < 1e-4
    True

    Raises:
        InputError: a strength or a reference coordinate that is not finite, or a reference of
            another width.
    """

    direction: Direction
    strength: float
    reference: Float[Tensor, " d_model"] | None = None
    at: tuple[Site, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reference is not None:
            check_width(self.reference, self.direction, "the reference mean of Affine")
        if not math.isfinite(self.added):
            raise InputError(
                f"Affine({self.direction.category!r}, strength {self.strength}) sets the "
                f"coordinate to {self.added}, which is not finite; give a finite strength, and a "
                "reference mean where the direction doesn't know its low"
            )

    @property
    def repeatable(self) -> bool:
        """Only at strength 0, which erases.

        It is idempotent at other strengths too, as the coordinate is set and not shifted; but
        that a steering edit names a vector twice counts as a mistake.
        """
        return self.strength == 0

    @property
    def removed(self) -> Literal[0, 1]:
        """1: the coordinate along r is removed."""
        return 1

    @property
    def added(self) -> float:
        """The new coordinate along r: that of the reference mean, plus strength times the gap."""
        r = self.direction
        base = r.low if self.reference is None else float(self.reference.float() @ r.vector)
        gap = r.high - r.low
        return base + self.strength * (gap if math.isfinite(gap) else r.scale)

    def sites(self, n_layers: int) -> tuple[Site, ...]:
        """The sites named in `at`, or the direction's own.

        >>> rl.Affine(direction, strength=0.0).sites(n_layers=3)
        (Site(layer=2, point='resid_pre'),)
        """
        del n_layers
        return (self.direction.site,) if self.at is None else self.at

    def __repr__(self) -> str:
        d = self.direction
        where = ", ".join(map(str, self.at or (d.site,)))
        given = self.reference
        mean = "the comply mean" if given is None else f"the mean {fingerprint(given)}"
        return (
            f"Affine({d.category!r}, strength {self.strength} from {mean}, "
            f"coordinate {self.added:.6g}, at {where})"
        )

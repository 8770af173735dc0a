"""Activation addition."""

import math
from dataclasses import dataclass
from typing import Literal, final

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions.base import AlongOne
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Add(AlongOne):
    """Add a multiple of a direction to the stream: x + a r. Arditi et al. 2024, equation 3.

    Either `strength`, in units of the direction's own scale (1 adds the raw difference of means;
    positive is towards refusal), or `alpha`, in residual-stream units (Joad et al. 2026), never
    both. At all positions of one site: the site where the direction was fitted, unless `at` names
    another.

    >>> edit = rl.Add(direction, strength=0.5)
    >>> float(edit(0.0 * direction.vector) @ direction.vector) / direction.scale
    0.50
    >>> with model.editing(edit):
    ...     answers = model.generate(["What is a share?"], rl.Decoding(max_new_tokens=4))
    """

    direction: Direction
    strength: float | None = None
    alpha: float | None = None
    at: Site | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [x for x in (self.strength, self.alpha) if x is not None]
        if len(given) != 1:
            raise InputError(
                f"Add({self.direction.category!r}) takes either strength (units of the "
                f"direction's scale, {self.direction.scale:.4g}) or alpha (absolute), "
                f"found strength={self.strength}, alpha={self.alpha}"
            )
        if not math.isfinite(given[0]):
            raise InputError(f"Add({self.direction.category!r}): {given[0]} is not a finite number")

    @property
    def repeatable(self) -> bool:
        """No: adding twice shifts by twice as much."""
        return False

    @property
    def removed(self) -> Literal[0, 1]:
        """0: the coordinate along r stays."""
        return 0

    @property
    def added(self) -> float:
        """The signed shift along r: `length`."""
        return self.length

    @property
    def length(self) -> float:
        """What is added along the unit vector, in residual-stream units."""
        if self.alpha is not None:
            return self.alpha
        assert self.strength is not None
        return self.strength * self.direction.scale

    def sites(self, n_layers: int) -> tuple[Site, ...]:
        """The one site of the addition.

        >>> rl.Add(direction, strength=1.0).sites(n_layers=3)
        (Site(layer=2, point='resid_pre'),)
        """
        del n_layers
        return (self.direction.site if self.at is None else self.at,)

    def __repr__(self) -> str:
        d = self.direction
        size = f"alpha {self.alpha}" if self.strength is None else f"strength {self.strength}"
        return f"Add({d.category!r}, {size}, at {self.at or d.site}, offset {d.offset})"

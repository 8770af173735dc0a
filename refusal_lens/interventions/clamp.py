"""Clamping the coordinate along a direction."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Literal, final

from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions.base import AlongOne
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Clamp(AlongOne):
    """Set the coordinate along a direction: x + (c - x . r) r, so that afterwards x . r = c.

    `to` is "low" (the mean coordinate of the comply side where the direction was fitted), "high"
    (of the refuse side), or c itself in residual-stream units, as a number or a tensor that holds
    one; 0 is ablation. At the site where the direction was fitted, unless `at` names others.
    Clamping twice is clamping once.

    >>> clamped = rl.Clamp(direction, to=2.0)(5.0 * direction.vector)
    >>> float(clamped @ direction.vector)
    2.00

    Raises:
        InputError: an unknown word, or a coordinate that is not finite (a direction built without
            its side's mean has none).
    """

    direction: Direction
    to: Literal["low", "high"] | Real | float | Tensor
    at: tuple[Site, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.to in ("low", "high") if isinstance(self.to, str) else _is_number(self.to)):
            raise InputError(f"Clamp to {self.to!r}: give 'low', 'high' or a number")
        if not math.isfinite(self.added):
            raise InputError(
                f"Clamp({self.direction.category!r}) to {self.to} sets the coordinate to "
                f"{self.added}, which is not finite; give a number, or a direction that knows "
                "its low and high"
            )

    @property
    def repeatable(self) -> bool:
        """Yes: setting a coordinate is idempotent."""
        return True

    @property
    def removed(self) -> Literal[0, 1]:
        """1: the coordinate along r is removed."""
        return 1

    @property
    def added(self) -> float:
        """The new coordinate along r, c."""
        if isinstance(self.to, str):
            return self.direction.low if self.to == "low" else self.direction.high
        return float(self.to)

    def sites(self, n_layers: int) -> tuple[Site, ...]:
        """The sites named in `at`, or the direction's own.

        >>> rl.Clamp(direction, to=0.0).sites(n_layers=3)
        (Site(layer=2, point='resid_pre'),)
        """
        del n_layers
        return (self.direction.site,) if self.at is None else self.at

    def __repr__(self) -> str:
        d = self.direction
        where = ", ".join(map(str, self.at or (d.site,)))
        return f"Clamp({d.category!r} to {self.to} = {self.added:.6g}, at {where})"


def _is_number(to: object) -> bool:
    return to.ndim == 0 if isinstance(to, Tensor) else isinstance(to, Real)

"""Angular steering: turning the stream within a plane."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.arguments import one
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.interventions.base import ResidualMap
from refusal_lens.interventions.widths import check_width
from refusal_lens.linalg import fingerprint, orthonormal_basis
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Rotate(ResidualMap):
    """Turn the part of a vector that lies in a plane to an absolute angle; its norm stays.

    The plane is spanned by r (b1) and by `second`, made orthogonal to it (b2). With P the
    projection onto the plane, x - P x + |P x| (cos(a) b1 + sin(a) b2): at 0 degrees all of P x
    points towards refusal, at 90 degrees nothing of it is along r, at 180 it points away. An
    absolute angle, no increment; not ablation at 90, which would drop the norm. `adaptive` acts
    only on vectors whose own coordinate along r is positive (arXiv 2510.26243, section 4). The
    paper turns what every norm gives out; here `at` names sites of the stream, by default the
    one where the direction was fitted. Computed in float32.

    >>> second = directions["humanizing", 2].vector
    >>> turned = rl.Rotate(direction, second, degrees=90.0)(3.0 * direction.vector)
    >>> abs(float(turned @ direction.vector)) < 1e-4, float(turned.norm())
    (True, 3.00)

    Raises:
        InputError: an angle that is not finite, or a second vector that is parallel to r or of
            another width.
    """

    direction: Direction
    second: Float[Tensor, " d_model"]
    degrees: float
    adaptive: bool = False
    at: tuple[Site, ...] | None = None

    def __post_init__(self) -> None:
        one(
            self.direction,
            Direction,
            what="the direction of Rotate",
            write="Rotate(direction, ...)",
        )
        check_width(self.second, self.direction, "the second vector of Rotate")
        if not math.isfinite(self.degrees):
            raise InputError(f"Rotate: {self.degrees} degrees is not a finite angle")
        if not bool(torch.isfinite(self.plane).all()):
            raise InputError(
                f"Rotate({self.direction.category!r}): the second vector is zero, not finite or "
                "parallel to the direction and spans no plane with it; give another one"
            )

    @cached_property
    def plane(self) -> Float[Tensor, "2 d_model"]:
        """The orthonormal vectors b1 = r and b2, whose angle to `second` is under 90 degrees."""
        q = orthonormal_basis(torch.stack([self.direction.vector, self.second.float()]))
        return torch.stack([self.direction.vector, q[1] * torch.sign(q[1] @ self.second.float())])

    @property
    def repeatable(self) -> bool:
        """A steering edit that names a vector twice is taken for a mistake.

        In exact arithmetic turning to an angle twice is turning to it once.
        """
        return False

    @property
    def width(self) -> int:
        """That of the direction."""
        return len(self.direction.vector)

    @property
    def directions_used(self) -> tuple[Direction, ...]:
        """The one that is turned."""
        return (self.direction,)

    def sites(self, n_layers: int) -> tuple[Site, ...]:
        """The sites named in `at`, or the direction's own.

        >>> second = directions["humanizing", 2].vector
        >>> rl.Rotate(direction, second, degrees=90.0).sites(n_layers=3)
        (Site(layer=2, point='resid_pre'),)
        """
        del n_layers
        return (self.direction.site,) if self.at is None else self.at

    def __call__(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        plane = self.plane.to(resid.device)
        old = resid.float() @ plane.mT
        a = math.radians(self.degrees)
        aim = torch.tensor([math.cos(a), math.sin(a)], device=resid.device)
        # hypot, as squares of the largest coordinates leave the range of half precision.
        new = torch.hypot(old[..., :1], old[..., 1:]) * aim
        turned = (resid.float() + (new - old) @ plane).to(resid.dtype)
        return torch.where(old[..., :1] > 0, turned, resid) if self.adaptive else turned

    def __repr__(self) -> str:
        d = self.direction
        where = ", ".join(map(str, self.at or (d.site,)))
        mode = "adaptive, " if self.adaptive else ""
        plane = f"in the plane with vector {fingerprint(self.second)}"
        return f"Rotate({d.category!r} to {self.degrees} degrees {plane}, {mode}at {where})"

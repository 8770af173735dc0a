"""What a suffix does to the last token's residual: its part along a direction, and the rest.

After Ball et al., arXiv:2510.22014. With v a unit direction towards refusal, a the residual without
and b the one with the suffix, at one site and offset: connectivity a.v, push a.v - b.v (positive:
away from refusal), orthogonal shift |P(b) - P(a)| with P(x) = x - (x.v)v, efficiency push divided
by orthogonal shift.
"""

from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.arguments import one
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.residuals import Residuals

ROUNDING: Final = 1e-6
"""Share of a shift's length below which its orthogonal part is that of a float32 unit vector."""


@final
@dataclass(frozen=True, eq=False)
class Shift:
    """What suffixes did to the residuals of prompts; float64, NaN where undefined.

    Push and orthogonal shift have the axes of connectivity, and may have further ones before them:
    several suffixes behind the same prompts.

    Attributes:
        connectivity: Coordinate on the direction without the suffix, residual-stream units.
        cosine: Cosine of the centred residual without the suffix to the direction.
        push: Coordinate without minus coordinate with the suffix; positive: away from refusal.
        orthogonal: Length of the part of the shift that is orthogonal to the direction.
    """

    connectivity: Float[Tensor, "*rows"]
    cosine: Float[Tensor, "*rows"]
    push: Float[Tensor, "*more"]
    orthogonal: Float[Tensor, "*more"]

    @property
    def length(self) -> Float[Tensor, "*more"]:
        """Length of the whole shift: by Pythagoras, of push and orthogonal shift together."""
        return torch.hypot(self.push, self.orthogonal)

    @property
    def efficiency(self) -> Float[Tensor, "*more"]:
        """Push divided by orthogonal shift; NaN where nothing is orthogonal beyond rounding."""
        across = self.orthogonal > ROUNDING * self.length
        return torch.where(across, self.push / self.orthogonal, torch.nan)


def shift_along(
    vector: Float[Tensor, " d_model"],
    without: Float[Tensor, "*rows d_model"],
    suffixed: Float[Tensor, "*more d_model"],
    centre: Float[Tensor, " d_model"],
) -> Shift:
    """Connectivity, push and orthogonal shift of residuals along a unit vector.

    Push is positive away from refusal; lengths are in units of the residual stream (Ball et al.,
    arXiv:2510.22014).

    `suffixed` has the axes of `without`, and may have further ones before them (suffixes). `centre`
    is subtracted before the cosine is taken, which the common mean of the stream would rule
    otherwise; push and shift are differences and need none.

    >>> import torch
    >>> v, a = torch.tensor([1.0, 0.0]), torch.tensor([[3.0, 0.0]])
    >>> shift = shift_along(v, a, a + torch.tensor([-2.0, 1.5]), torch.zeros(2))
    >>> shift.push.tolist(), shift.orthogonal.tolist(), shift.length.tolist()
    ([2.0], [1.5], [2.5])
    """
    v, a = vector.double(), without.double()
    delta = suffixed.double() - a
    along = delta @ v
    centred = a - centre.double()
    return Shift(
        connectivity=a @ v,
        cosine=(centred @ v) / centred.norm(dim=-1),
        push=-along,
        orthogonal=(delta - along[..., None] * v).norm(dim=-1),
    )


def suffix_shift(without: Residuals, suffixed: Residuals, direction: Direction) -> Shift:
    """The shift of each prompt from its residual without a suffix to that with one.

    Both at the direction's site and offset; `suffixed` are the residuals of
    `append_suffix(prompts, suffix)`, so that row i of both is of one request. Cosines are centred
    on the mean of `without`.

    >>> asked = prompts.only(split="test")
    >>> pushed = rl.append_suffix(asked, "Answer briefly.")
    >>> shift = suffix_shift(model.residuals(asked), model.residuals(pushed), direction)
    >>> shift.push.shape, bool((shift.length >= shift.push.abs()).all())
    (torch.Size([12]), True)

    Raises:
        InputError: residuals of unequal numbers of prompts, or without the direction's place.
    """
    for name, rows in (("without", without), ("suffixed", suffixed)):
        one(rows, Residuals, what=f"`{name}`", write="model.residuals(prompts)")
    one(direction, Direction, what="the direction", write="directions.at(category, layer)")
    if len(without) != len(suffixed):
        raise InputError(
            f"residuals of {len(without)} prompts without and {len(suffixed)} with a suffix; "
            "expected the same prompts in one order, as append_suffix gives them"
        )
    a, b = (r.at(direction.site, direction.offset) for r in (without, suffixed))
    return shift_along(direction.vector, a, b, a.double().mean(0))

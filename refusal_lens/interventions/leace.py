"""Least-squares concept erasure."""

from dataclasses import dataclass
from typing import Final, Literal, final, get_args

import torch
from concept_erasure import LeaceEraser, LeaceFitter
from jaxtyping import Bool, Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.interventions.base import ResidualMap
from refusal_lens.linalg import fingerprint
from refusal_lens.sites import Site

ErasureMethod = Literal["leace", "orth"]
METHODS: Final[tuple[str, ...]] = get_args(ErasureMethod)


@final
@dataclass(frozen=True, eq=False)
class Leace(ResidualMap):
    """Erase a label so that no linear read-out can tell it: x - L R (x - mean).

    LEACE, Belrose et al. 2023; made by `Leace.fit` from residuals and their labels, through the
    package concept-erasure. With "leace" the change is the smallest in the whitened space: what
    is read is Sigma^-1 times the difference of means, what is removed lies along the difference.
    "orth" removes the same direction by an orthogonal projection about the mean of all. Erasing
    twice is erasing once. Computed in float32 at least.

    >>> import torch
    >>> refuse, comply = torch.randn(40, 4) + 1.0, torch.randn(40, 4)
    >>> labels = torch.arange(80) < 40
    >>> eraser = rl.Leace.fit(torch.cat([refuse, comply]), labels, name="mine", at=(rl.Site(2),))
    >>> float((eraser(refuse).mean(0) - eraser(comply).mean(0)).norm()) < 1e-4
    True
    """

    name: str
    left: Float[Tensor, "d_model rank"]
    right: Float[Tensor, "rank d_model"]
    mean: Float[Tensor, " d_model"]
    method: ErasureMethod
    n: int
    at: tuple[Site, ...]

    @classmethod
    def fit(
        cls,
        resid: Float[Tensor, "prompt d_model"],
        refuse: Bool[Tensor, " prompt"],
        *,
        name: str,
        at: tuple[Site, ...],
        method: ErasureMethod = "leace",
    ) -> "Leace":
        """The eraser of a label (`refuse`: True or False) from residuals read at the sites `at`.

        The covariance is shrunk (the package's default); after erasure the two class means of
        `resid` are equal.

        >>> import torch
        >>> refuse = torch.arange(20) < 10
        >>> resid = torch.randn(20, 4) + 2.0 * refuse[:, None]
        >>> eraser = rl.Leace.fit(resid, refuse, name="mine", at=(rl.Site(2),))
        >>> eraser.n, eraser.width
        (20, 4)

        Raises:
            InputError: an unknown method, residuals that are not finite, a side with fewer than
                two prompts, or classes with so little between them that nothing would be erased.
        """
        if method not in METHODS:
            raise InputError(f"method {method!r} is unknown; use one of {list(METHODS)}")
        sides = int(refuse.sum()), int((~refuse).sum())
        if min(sides) < 2:
            raise InputError(
                f"Leace {name!r} has {sides} prompts per side; give at least 2 of each"
            )
        if not bool(torch.isfinite(resid).all()):
            raise InputError(f"Leace {name!r}: the residuals hold a number that is not finite")
        eraser = LeaceFitter.fit(resid.double(), refuse.double(), method=method).eraser
        kept = eraser.proj_right.norm(dim=1) > 0  # the package zeroes what it does not erase
        if not bool(kept.any()):
            raise InputError(
                f"Leace {name!r} at {at[0]}: the labels have next to no linear trace in these "
                "residuals, nothing would be erased; use another site or more prompts"
            )
        assert eraser.bias is not None
        left, right = eraser.proj_left[:, kept].float(), eraser.proj_right[kept].float()
        return cls(name, left, right, eraser.bias.float(), method, len(resid), at)

    @property
    def repeatable(self) -> bool:
        """Erasing twice is erasing once."""
        return True

    @property
    def width(self) -> int:
        """That of the residuals that it was fitted on."""
        return len(self.mean)

    def sites(self, n_layers: int) -> tuple[Site, ...]:
        """The sites named in `at`.

        >>> import torch
        >>> refuse = torch.arange(20) < 10
        >>> resid = torch.randn(20, 4) + 2.0 * refuse[:, None]
        >>> eraser = rl.Leace.fit(resid, refuse, name="mine", at=(rl.Site(2),))
        >>> eraser.sites(n_layers=3)
        (Site(layer=2, point='resid_pre'),)
        """
        del n_layers
        return self.at

    def __call__(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        # In half precision the mean, taken off what is read, would round as coarsely as the largest
        # coordinate of the stream, and leave much of the difference that is to be erased.
        x = resid.to(torch.promote_types(resid.dtype, torch.float32))
        return LeaceEraser(self.left.to(x), self.right.to(x), self.mean.to(x))(x).to(resid)

    def __repr__(self) -> str:
        where = ", ".join(map(str, self.at))
        fitted = f"fitted on {self.n} prompts as {fingerprint(self.left[:, 0])}"
        return f"Leace({self.name!r}, {self.method}, {fitted}, at {where})"

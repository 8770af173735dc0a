"""One vector in place of every other at a site: the whole stream there, ablated to a constant."""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from refusal_lens.interventions.base import ResidualMap
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class Constant(ResidualMap):
    """Every vector replaced by one, at one site.

    >>> import torch
    >>> Constant(torch.ones(2), rl.Site(1))(torch.zeros(3, 2)).sum()
    tensor(6.)
    """

    vector: Float[Tensor, " d_model"]
    site: Site

    @property
    def repeatable(self) -> bool:
        """Replaced twice is replaced once."""
        return True

    @property
    def width(self) -> int:
        """That of the vector."""
        return len(self.vector)

    def sites(self, n_layers: int) -> tuple[Site, ...]:
        """The one site.

        >>> import torch
        >>> Constant(torch.ones(2), rl.Site(1)).sites(n_layers=3)
        (Site(layer=1, point='resid_pre'),)
        """
        del n_layers
        return (self.site,)

    def __call__(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return self.vector.to(resid).expand_as(resid)

    def __repr__(self) -> str:
        return f"Constant(at {self.site}, length {float(self.vector.norm()):.3g})"

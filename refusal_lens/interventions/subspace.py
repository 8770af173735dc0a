"""Ablation of several directions at once."""

from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Final, Literal, final, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction, several_directions
from refusal_lens.errors import InputError
from refusal_lens.interventions.base import ResidualMap
from refusal_lens.linalg import orthonormal_basis, project_out
from refusal_lens.sites import Site, stream_writes

SubspaceMethod = Literal["span", "sequential"]
METHODS: Final[tuple[str, ...]] = get_args(SubspaceMethod)


@final
@dataclass(frozen=True, eq=False)
class AblateSubspace(ResidualMap):
    """Project several directions r_1 .. r_k out of the stream.

    "span" is the orthogonal projection off the space that they span, from a QR basis: nothing is
    left along any of them, in whatever order they are given.

    "sequential" projects out r_1, then r_2, ... then r_k (arXiv 2511.08379; x P_1 P_2 ... P_k
    for a row vector x). Where directions aren't orthogonal the order matters, only r_k is surely
    gone, and acting twice is not acting once. So that it acts on each contribution to the stream
    once, as the paper's edit of the weights does, its default sites are the input of block 0 and
    every block's two writers; "span" has the three of every block. `at` names other sites.

    >>> both = directions["advice", 2], directions["humanizing", 2]
    >>> left = rl.AblateSubspace(both)(both[0].vector + 2.0 * both[1].vector)
    >>> float(left.norm()) < 1e-5
    True

    Raises:
        InputError: no direction, an unknown method, directions of different width, or, for
            "span", directions that aren't linearly independent.
    """

    directions: tuple[Direction, ...]
    method: SubspaceMethod = "span"
    at: tuple[Site, ...] | None = None

    def __post_init__(self) -> None:
        several_directions(self.directions)
        if not self.directions:
            raise InputError("AblateSubspace takes at least one direction, found none")
        if self.method not in METHODS:
            raise InputError(f"method {self.method!r} is unknown; use one of {list(METHODS)}")
        widths = sorted({len(d.vector) for d in self.directions})
        if len(widths) > 1:
            raise InputError(f"the directions are of different width: {widths}; use one model's")
        if self.method == "span" and not bool(torch.isfinite(self._basis).all()):
            raise InputError(
                f"the {len(self.directions)} directions {[d.category for d in self.directions]} "
                "aren't linearly independent; leave out those that the others already span"
            )

    @cached_property
    def _basis(self) -> Float[Tensor, "direction d_model"]:
        return orthonormal_basis(torch.stack([d.vector for d in self.directions]))

    @property
    def repeatable(self) -> bool:
        """The projection off the span twice is once; the product of projections is not."""
        return self.method == "span"

    @property
    def width(self) -> int:
        """That of the directions."""
        return len(self.directions[0].vector)

    @property
    def directions_used(self) -> tuple[Direction, ...]:
        """Those that span what is erased."""
        return self.directions

    def sites(self, n_layers: int) -> tuple[Site, ...]:
        """The sites named in `at`, or the default ones of the method.

        >>> both = directions["advice", 2], directions["humanizing", 2]
        >>> len(rl.AblateSubspace(both, "sequential").sites(n_layers=3))
        7
        """
        if self.at is not None:
            return self.at
        writes = stream_writes(n_layers)
        if self.method == "span":
            return writes
        return tuple(s for s in writes if s.point != "resid_pre" or s.layer == 0)

    def __call__(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        if self.method == "sequential":
            return reduce(project_out, (d.vector.to(resid) for d in self.directions), resid)
        basis = self._basis.to(resid)
        return resid - (resid @ basis.mT) @ basis

    def __repr__(self) -> str:
        where = "every layer" if self.at is None else ", ".join(map(str, self.at))
        names = ", ".join(f"{d.category!r} fitted at {d.site}" for d in self.directions)
        return f"AblateSubspace({self.method} of {names}; at {where})"

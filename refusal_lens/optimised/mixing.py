"""Unit vectors in the span of given directions, by their coordinates on these."""

from collections.abc import Sequence
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction, DirectionSet, several_directions
from refusal_lens.errors import InputError
from refusal_lens.linalg import unit
from refusal_lens.optimised.passes import LearnedVectors
from refusal_lens.optimised.terms import Term

DirectionBasis = DirectionSet | Sequence[Direction]

_DEPENDENT: Final = 1e-4
"""A singular value of unit vectors below which one counts as a mixture of the others."""


def mixing_of(direction: Direction, basis: DirectionBasis) -> dict[str, float]:
    """The coordinates c of the vector on the unit vectors of `basis`: r = sum of c_i b_i.

    Of a combination they are exact; of another direction, those of its projection on the span.

    >>> mixing = rl.optimised.mixing_of(directions["advice", 2], directions)
    >>> {category: abs(round(c, 3)) for category, c in mixing.items()}
    {'advice': 1.0, 'humanizing': 0.0, 'unsupported': 0.0}

    Raises:
        InputError: fewer than two directions, two of one name, one of another site, or dependent
            ones.
    """
    chosen = directions_at(basis, direction)
    mixing = projected(direction.vector, rows_of(chosen))
    return {d.category: float(c) for d, c in zip(chosen, mixing, strict=True)}


@final
class InSpan:
    """A term of stream vectors as a term of their coordinates on a basis.

    >>> from refusal_lens.optimised.passes import LearningPasses
    >>> from refusal_lens.optimised.rows import TargetRow
    >>> from refusal_lens.optimised.terms import RetainLoss
    >>> passes, row = LearningPasses(model, direction), TargetRow("one", (5, 6, 7), (0,))
    >>> term = InSpan(RetainLoss(passes, [row], n_at_once=8), torch.eye(model.d_model)[:2])
    >>> bool(term.losses([0], [torch.tensor([0.6, 0.8])]) > 0)
    True
    """

    def __init__(self, term: Term, basis: Float[Tensor, "direction d_model"]) -> None:
        self._term, self._basis = term, basis
        self.lengths = term.lengths

    def losses(self, places: Sequence[int], vectors: LearnedVectors) -> Float[Tensor, " prompt"]:
        """See `Term.losses`; prompts that share coordinates share the vector, and so an edit."""
        made = {id(m): unit(m @ self._basis) for m in vectors}
        return self._term.losses(places, [made[id(m)] for m in vectors])


def directions_at(basis: DirectionBasis, at: Direction) -> tuple[Direction, ...]:
    """The directions of a basis at the site of another direction: two or more, independent.

    Of a set, all that are defined at its site and offset.

    >>> [d.category for d in directions_at(directions, direction)]
    ['advice', 'humanizing', 'unsupported']

    Raises:
        InputError: fewer than two, two of one name, one of another site or width, or dependent
            ones.
    """
    if not isinstance(basis, DirectionSet):
        chosen = several_directions(basis)
    elif at.site in basis.sites and at.offset in basis.offsets:
        o, s = basis.offsets.index(at.offset), basis.sites.index(at.site)
        defined = zip(basis.categories, basis.defined()[:, o, s].tolist(), strict=True)
        chosen = tuple(basis.at_site(c, at.site, at.offset) for c, there in defined if there)
    else:
        chosen = ()
    names = [d.category for d in chosen]
    if len(chosen) < 2 or len({*names}) < len(names):
        raise InputError(
            f"a combination is of two directions or more, of different names; found {names} at "
            f"{at.site}, offset {at.offset}"
        )
    if wrong := [d for d in chosen if (d.site, len(d.vector)) != (at.site, len(at.vector))]:
        raise InputError(
            f"{wrong[0]!r} is not of the site and width of {at!r}; combine directions of one site"
        )
    least = float(torch.linalg.svdvals(rows_of(chosen).double()).min())
    if least < _DEPENDENT:
        raise InputError(
            f"the {len(chosen)} directions {names} are not linearly independent (smallest singular "
            f"value {least:.2g}); leave out those that the others already span"
        )
    return chosen


def rows_of(directions: Sequence[Direction]) -> Float[Tensor, "direction d_model"]:
    """The unit vectors, one per row.

    >>> rows_of([direction]).shape
    torch.Size([1, 32])
    """
    return torch.stack([d.vector.detach().float().cpu() for d in directions])


def projected(
    vector: Float[Tensor, " d_model"], basis: Float[Tensor, "direction d_model"]
) -> Float[Tensor, " direction"]:
    """The coordinates of the vector's projection on the span of the rows (least squares).

    >>> projected(torch.tensor([3.0, 4.0, 5.0]), torch.eye(3)[:2]).tolist()
    [3.0, 4.0]
    """
    target = vector.detach().double().cpu()[:, None]
    return torch.linalg.lstsq(basis.double().mT, target).solution[:, 0].float()

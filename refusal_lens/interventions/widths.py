"""Vectors that an edit takes beside its direction are of the same stream."""

from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError


def check_width(vector: Float[Tensor, "..."], direction: Direction, what: str) -> None:
    """Reject a vector that is of another stream than a direction.

    >>> check_width(direction.vector, direction, "the second vector of Rotate")

    Raises:
        InputError: it has another shape than the direction's vector.
    """
    if vector.shape != direction.vector.shape:
        raise InputError(
            f"{what} has shape {list(vector.shape)}, the direction {direction.category!r} "
            f"{list(direction.vector.shape)}; give a vector of the same model's stream"
        )

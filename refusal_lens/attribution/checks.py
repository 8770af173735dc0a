"""What is refused before an attribution begins: edits that are on, and directions of no model."""

from collections.abc import Iterable

from refusal_lens.directions import Direction, several_directions
from refusal_lens.errors import InputError
from refusal_lens.model import LensModel, warn_of_transfer


def check_unedited(model: LensModel) -> None:
    """Refuse a decomposition under edits.

    Raises:
        InputError: an edit is on, so that the stream is no longer the sum of its components.

    >>> check_unedited(model)
    """
    if model.edits_text != "none":
        raise InputError(
            f"{model.edits_text} is on: an edited stream is not the sum of what its components "
            "write; decompose outside `with model.editing(...)`"
        )


def check_directions(model: LensModel, directions: Iterable[Direction]) -> tuple[Direction, ...]:
    """Directions to attribute; one that was fitted on another model brings a warning.

    Raises:
        InputError: a lone direction, or something else.

    >>> len(check_directions(model, [direction]))
    1
    """
    chosen = several_directions(directions)
    warn_of_transfer(chosen, model.provenance(), "if that is meant, use allow_transfer()")
    return chosen

"""What is refused before an attribution begins: edits that are on, and directions of no model."""

from collections.abc import Iterable
from typing import Final

from refusal_lens.directions import Direction, several_directions
from refusal_lens.errors import InputError
from refusal_lens.model import LensModel, warn_of_transfer

NO_SUM: Final = "an edited stream is not the sum of what its components write"
"""Why nothing is decomposed under edits, for `check_unedited`."""

_STREAM: Final = ("resid_pre", "resid_mid", "resid_post")


def check_directions(model: LensModel, directions: Iterable[Direction]) -> tuple[Direction, ...]:
    """Directions to attribute; one that was fitted on another model brings a warning.

    Raises:
        InputError: a lone direction, something else, or a direction of another width than the
            model's stream.

    >>> len(check_directions(model, [direction]))
    1
    """
    chosen = several_directions(directions)
    for d in chosen:
        check_stream_width(model, len(d.vector), d.category)
    warn_of_transfer(chosen, model.provenance(), "if that is meant, use allow_transfer()")
    return chosen


def check_stream_width(model: LensModel, width: int, category: str) -> None:
    """Reject a direction of another width than the model's stream.

    Raises:
        InputError: it has another width.

    >>> check_stream_width(model, model.d_model, "advice")
    """
    if width != model.d_model:
        raise InputError(
            f"the direction of {category!r} is {width} wide, the stream of {model.name} "
            f"{model.d_model}; fit it on this model"
        )


def check_in_stream(directions: Iterable[Direction]) -> None:
    """Reject directions of one writer's output, of which no sum over writers is made.

    Raises:
        InputError: one that was not fitted in the residual stream itself.

    >>> check_in_stream([direction])
    """
    for d in several_directions(directions):
        if d.site.point not in _STREAM:
            raise InputError(
                f"the direction of {d.category!r} was fitted at {d.site}, which is one "
                f"writer's output; a sum over writers needs one of {list(_STREAM)}"
            )

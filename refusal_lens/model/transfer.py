"""Directions of another model, or of another chat template, are not used without a word."""

import warnings
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.interventions import Edit
from refusal_lens.records import Provenance

_LEVEL: Final = 4  # the line of whoever entered the context


_ALLOWED: Final = ContextVar("transfer is meant", default=False)


class TransferWarning(UserWarning):
    """A direction is used on another model, or with another template, than it was fitted on.

    >>> issubclass(TransferWarning, UserWarning)
    True
    """


@contextmanager
def allow_transfer() -> Generator[None]:
    """Within this context directions of another model are meant, and bring no warning.

    >>> with allow_transfer(), model.editing(rl.Ablate(direction)):
    ...     answers = model.generate(["Why?"], rl.Decoding(max_new_tokens=2))
    """
    token = _ALLOWED.set(True)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def directions_in(edits: Iterable[Edit]) -> list[Direction]:
    """The directions that edits and their conditions are made from.

    >>> [d.category for d in directions_in([rl.Ablate(direction)])]
    ['advice']
    """
    parts = [part for edit in edits for part in edit.parts()]
    users = [user for part in parts for user in (part.edit, *part.conditions)]
    return [d for user in users for d in user.directions_used]


def warn_of_transfer(
    directions: Iterable[Direction | DirectionSet], here: Provenance, allow: str
) -> None:
    """Warn once for each model and template that these directions were fitted on, if not `here`.

    A provenance with an empty `model_digest` is of no model. `allow` is what to write where it is
    meant: transfer between a base and its tuned model, for example, is a legitimate question.

    >>> warn_of_transfer([direction], model.provenance(), "use allow_transfer()")  # its own model
    """
    if _ALLOWED.get():
        return
    warned: set[str] = set()
    for d in directions:
        there, differs = d.provenance, ""
        if not there.model_digest:  # made by hand: nothing is known of where it is from
            continue
        if there.model_digest != here.model_digest:
            differs = (
                f"on {there.model} (weights {there.model_digest[:12]}) and used on {here.model} "
                f"(weights {here.model_digest[:12]})"
            )
        elif there.template_digest != here.template_digest:
            differs = (
                f"behind {there.rendered_prefix[-40:]!r} and used behind "
                f"{here.rendered_prefix[-40:]!r}, which another chat template sends"
            )
        if differs and differs not in warned:
            warned.add(differs)
            name = f"direction of {d.category!r} was" if isinstance(d, Direction) else "set was"
            warnings.warn(
                f"the {name} fitted {differs}; {allow}",
                TransferWarning,
                stacklevel=_LEVEL,
            )


def warn_of_other_weights(what: str, there: Provenance, here: Provenance) -> None:
    """Warn where something that was calibrated on one model is used on another, if not allowed.

    >>> warn_of_other_weights("monitor", model.provenance(), model.provenance())  # the same model
    """
    if _ALLOWED.get() or not there.model_digest or there.model_digest == here.model_digest:
        return
    warnings.warn(
        f"the {what} was calibrated on {there.model} (weights {there.model_digest[:12]}) and is "
        f"used on {here.model} (weights {here.model_digest[:12]}), where its rates of error are "
        "not known; if that is meant, enter allow_transfer()",
        TransferWarning,
        stacklevel=_LEVEL,
    )

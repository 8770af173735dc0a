"""A model without edits, where numbers of an edited one would mean something else."""

from refusal_lens.errors import InputError
from refusal_lens.interventions import UNEDITED
from refusal_lens.model.lens import LensModel


def check_unedited(model: LensModel, why: str) -> None:
    """Reject a model with an edit on; `why` it may not be edited ends the message.

    Raises:
        InputError: an edit is on.

    >>> check_unedited(model, "weights are compared")
    >>> with model.editing(rl.Ablate(direction)):
    ...     check_unedited(model, "weights are compared")
    Traceback (most recent call last):
    refusal_lens.errors.InputError: Ablate(...) is on: weights are compared; call this outside `w...
    """
    if model.edits_text != UNEDITED:
        raise InputError(
            f"{model.edits_text} is on: {why}; call this outside `with model.editing(...)`"
        )

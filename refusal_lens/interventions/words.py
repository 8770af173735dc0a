"""How edits are written in records: in words, and as one word where there are none."""

from collections.abc import Iterable
from typing import Final

from refusal_lens.interventions.base import Edit

UNEDITED: Final = "none"
"""Stands where no edit is on, and names the condition without an edit."""


def edits_text(edits: Iterable[Edit]) -> str:
    """Edits in the order in which they act, in words.

    >>> edits_text([]), edits_text([rl.Ablate(direction)] * 2).count(" + ")
    ('none', 1)
    """
    return " + ".join(map(repr, edits)) or UNEDITED

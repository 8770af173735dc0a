"""What a question is answered under: no edit, its edits, and a random control."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.explorer.choices import Choice
from refusal_lens.explorer.question import EditAsked, Question
from refusal_lens.interventions import Ablate, Add, Edit, Only
from refusal_lens.interventions.base import Composite


@final
@dataclass(frozen=True, eq=False)
class NamedEdit:
    """An edit, or none, with the name of its column and the edit in words."""

    name: str
    edit: Edit | None
    words: str


def conditions_of(question: Question, choices: Sequence[Choice]) -> tuple[NamedEdit, ...]:
    """Unedited, then under all edits at once, then with a random direction in place of one.

    >>> from refusal_lens.explorer.choices import choices_of
    >>> asked = Question("Why?", edits=(EditAsked("ablate", 0, 2),), control=0)
    >>> [condition.name for condition in conditions_of(asked, choices_of(directions))]
    ['Unedited', 'Edited', 'Control']

    Raises:
        InputError: a direction or an edit that is not there.
    """
    unedited = NamedEdit("Unedited", None, "the model as it is")
    if not question.edits:
        if question.control is not None:
            raise InputError("there is no edit to draw a control for; add one")
        return (unedited,)
    directions = [asked_direction(asked, choices) for asked in question.edits]
    edited = _all_edits("Edited", question.edits, directions)
    place = question.control
    if place is None:
        return unedited, edited
    if place >= len(directions):
        raise InputError(f"edit {place + 1} is not there; the question has {len(directions)}")
    name = f"random direction of the same length, draw {question.draw}"
    directions[place] = directions[place].random_like(question.draw, name=name)
    return unedited, edited, _all_edits("Control", question.edits, directions)


def asked_direction(asked: EditAsked, choices: Sequence[Choice]) -> Direction:
    """The direction that an edit names.

    Raises:
        InputError: it is not among the choices, or undefined at its layer.
    """
    if asked.direction >= len(choices):
        raise InputError(
            f"direction {asked.direction} is not offered; there are {len(choices)}, from 0"
        )
    return choices[asked.direction].direction(asked.layer)


def _all_edits(name: str, asked: Sequence[EditAsked], directions: Sequence[Direction]) -> NamedEdit:
    edits = [_edit(one, direction) for one, direction in zip(asked, directions, strict=True)]
    edit = edits[0] if len(edits) == 1 else Composite(tuple(edits))
    return NamedEdit(name, edit, repr(edit))


def _edit(asked: EditAsked, direction: Direction) -> Edit:
    if asked.action == "add":
        edit: Edit = Add(direction, strength=asked.strength)
    elif asked.action == "ablate":
        edit = Ablate(direction)
    else:
        edit = Ablate(direction, at=(direction.site,))
    return edit if asked.phase == "all" else Only(edit, asked.phase)

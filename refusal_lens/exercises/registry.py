"""All exercises, by chapter and by name; a file of `chapters/` is a chapter and lists itself."""

import difflib
from dataclasses import dataclass
from functools import cache
from typing import Any, final

import torch

from refusal_lens.discovery import modules_of
from refusal_lens.errors import InputError
from refusal_lens.exercises.exercise import Exercise
from refusal_lens.exercises.feedback import Feedback


@final
@dataclass(frozen=True)
class Chapter:
    """The exercises of one notebook, in its order."""

    number: int
    title: str
    exercises: tuple[Exercise, ...]


@cache
def all_chapters() -> tuple[Chapter, ...]:
    """The chapters of the course by number.

    >>> [chapter.title for chapter in rl.exercises.all_chapters()][:2]
    ['The residual stream', 'One direction']
    """
    with torch.device("cpu"):  # their inputs, whatever a notebook's default is
        modules = modules_of("refusal_lens.exercises.chapters")
    chapters: list[Chapter] = [module.CHAPTER for module in modules]
    return tuple(sorted(chapters, key=lambda chapter: chapter.number))


@cache
def all_exercises() -> dict[str, Exercise]:
    """Every exercise by name, in the order of the course.

    >>> "corrected_cosine" in rl.exercises.all_exercises()
    True
    """
    return {e.name: e for chapter in all_chapters() for e in chapter.exercises}


def check(name: str, function: Any) -> Feedback:
    """What the check of that name says about a function.

    >>> rl.exercises.check("mean_difference", lambda refused, answered: None)
    mean_difference: not written yet. Replace the `...` by code that returns the unit vector...

    Raises:
        InputError: no exercise has that name.
    """
    exercises = all_exercises()
    if name not in exercises:
        near = difflib.get_close_matches(name, exercises, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(exercises)}"
        raise InputError(f"there is no exercise {name!r}; {hint}")
    return exercises[name](function)

"""`Exercise`: a function to write, what it is called on, and the mistakes that are recognised.

A mistake is a function, too: the right answer with one thing wrong. What it gives on the same
inputs is compared with what the learner's function gives, so that the message can name the mistake.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import torch

from refusal_lens.exercises.attempt import Attempt, attempt, is_stub
from refusal_lens.exercises.compare import mismatch
from refusal_lens.exercises.feedback import Feedback
from refusal_lens.exercises.relation import relation


@final
@dataclass(frozen=True)
class Case:
    """Inputs of one call, with a phrase that says what they are."""

    about: str
    args: tuple[Any, ...]


@final
@dataclass(frozen=True)
class Mistake:
    """A wrong answer that many give, as a function, and what to say to it."""

    words: str
    function: Callable[..., Any]


def _nothing_left(*args: Any) -> str:
    """Nothing to complain about."""
    return ""


@final
@dataclass(frozen=True)
class Exercise:
    """A check: call it with a function, and it says whether that is right, or what is wrong.

    `gives` says what the function has to return. `afterwards` looks at the inputs after the call
    (a hook that was left, for example) and gives the complaint, or "".

    >>> double = rl.exercises.Exercise(
    ...     solution=lambda x: 2 * x,
    ...     gives="twice the number",
    ...     cases=(rl.exercises.Case("three", (3,)),),
    ...     mistakes=(rl.exercises.Mistake("This is the square.", lambda x: x * x),),
    ...     name="double",
    ... )
    >>> double(lambda x: x**2)
    double: not yet. This is the square.
    >>> double(lambda x: x + x)
    double: right. Checked on three.
    """

    solution: Callable[..., Any]
    gives: str
    cases: tuple[Case, ...]
    mistakes: tuple[Mistake, ...]
    name: str
    afterwards: Callable[..., str] = _nothing_left

    def __call__(self, function: Any) -> Feedback:
        """What there is to say about a function."""
        if not callable(function):
            words = f"Give the function itself, `{self.name}`, and not what it returns."
            return Feedback(self.name, "not yet", words)
        if is_stub(function):
            words = f"Replace the `...` by code that returns {self.gives}."
            return Feedback(self.name, "not written yet", words)
        with torch.device("cpu"):  # inputs are there, whatever a notebook's default is
            tried = [attempt(function, case.args) for case in self.cases]
            complaint = self._complaint(tried)
        if unwritten := next((a for a in tried if (a.error or "").startswith("NotImplem")), None):
            return Feedback(self.name, "not written yet", f"It raises {unwritten.error}.")
        if complaint:
            return Feedback(self.name, "not yet", complaint)
        checked = "; ".join(case.about for case in self.cases)
        return Feedback(self.name, "right", f"Checked on {checked}.")

    def __repr__(self) -> str:
        return f"Exercise({self.name!r}: give a function that returns {self.gives})"

    def _complaint(self, tried: list[Attempt]) -> str | None:
        """The first thing that is wrong, in the order in which a reader would mend it."""
        right = [self.solution(*fresh_args(case)) for case in self.cases]
        wrong = [mismatch(a.value, expected) for a, expected in zip(tried, right, strict=True)]
        first = next((i for i, a in enumerate(tried) if a.error or wrong[i]), None)
        if first is not None:
            about = self.cases[first].about
            words, whole = self._recognised(tried, first)
            constant = _constant(tried)
            if words and not constant:
                return words if whole else f"On {about}: {words}"
            if error := tried[first].error:
                return f"On {about} the function stops with {error}."
            how = relation([(a.value, expected) for a, expected in zip(tried, right, strict=True)])
            how = "It is the same whatever the inputs are." if constant else how
            words = f"On {about} the result {wrong[first]}. {how}".rstrip()
            return f"{words} Expected is {self.gives}."
        if any(a.changed_input for a in tried):
            return (
                "The result is right, but the function changes its input in place (`x -= ...`, "
                "`x[i] = ...`). Whoever called it still needs that tensor: work on a copy."
            )
        return next((words for a in tried if (words := self.afterwards(*a.args))), None)

    def _recognised(self, tried: list[Attempt], first: int) -> tuple[str, bool]:
        """The words of the mistake that gives what the function gave, on most of the inputs or all.

        Errors of one kind are no more than a hint at the same mistake: on another input both have
        to give the same value.
        """
        most, words = 0, ""
        for mistake in self.mistakes:
            made = [attempt(mistake.function, case.args) for case in self.cases]
            same = [_same(a, m) for a, m in zip(tried, made, strict=True)]
            valued = any(s and not m.error for s, m in zip(same, made, strict=True))
            if same[first] and valued and sum(same) > most:
                most, words = sum(same), mistake.words
        return words, most == len(tried)


def _same(tried: Attempt, made: Attempt) -> bool:
    """Whether two attempts gave the same value, or an error of the same kind."""
    if made.error or tried.error:
        return bool(made.error and tried.error) and _kind(made) == _kind(tried)
    return mismatch(tried.value, made.value) is None


def _constant(tried: list[Attempt]) -> bool:
    """Whether every attempt gave one and the same number or word."""
    first = tried[0].value
    if len(tried) < 2 or not isinstance(first, int | float | str):
        return False
    return all(type(a.value) is type(first) and a.value == first for a in tried)


def _kind(tried: Attempt) -> str:
    """`ZeroDivisionError` of an attempt that ended in one."""
    return (tried.error or "").split(":")[0].split(",")[0]


def fresh_args(case: Case) -> tuple[Any, ...]:
    """The arguments of a case, as a copy that may be changed."""
    return attempt(_nothing_left, case.args).args

"""`Feedback`: what a check answers, as one paragraph on the screen and in a notebook."""

import html
import re
from dataclasses import dataclass
from typing import Literal, final

ExerciseState = Literal["right", "not yet", "not written yet"]
_COLOURS = {"right": "#1a7f37", "not yet": "#b35900", "not written yet": "#6e7781"}


@final
@dataclass(frozen=True)
class Feedback:
    """The answer of a check; true if the function is right, so that `assert check(...)` grades it.

    >>> feedback = rl.exercises.check("ablate", lambda resid, direction: resid)
    >>> bool(feedback), feedback.state
    (False, 'not yet')
    """

    exercise: str
    state: ExerciseState
    message: str

    def __bool__(self) -> bool:
        return self.state == "right"

    def __repr__(self) -> str:
        return f"{self.exercise}: {self.state}. {self.message}"

    def _repr_html_(self) -> str:  # pyright: ignore[reportUnusedFunction]  # Jupyter calls it
        """The same paragraph for a notebook, with `code` set as code."""
        message = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(self.message))
        colour = _COLOURS[self.state]
        return (
            f'<p style="border-left: 4px solid {colour}; padding-left: .6em">'
            f"<b>{html.escape(self.exercise)}: {self.state}.</b> {message}</p>"
        )

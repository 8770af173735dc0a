"""How a long computation reports that it goes on."""

from collections.abc import Callable
from typing import Final

Progress = Callable[[int], None]
"""Called with the number of units (prompts, pairs, layers ...) done since the last call."""


def _ignore(n: int) -> None:
    del n


NO_PROGRESS: Final[Progress] = _ignore
"""The default of every `progress` argument: nothing is reported.

>>> NO_PROGRESS(3)
"""

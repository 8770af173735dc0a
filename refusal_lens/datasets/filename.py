"""What a published file name says: its words, split and side."""

import re
from pathlib import Path
from typing import Final

from refusal_lens.errors import InputError

_OTHER: Final = {"harmful": "harmless", "harmless": "harmful"}


def words(file: str) -> list[str]:
    """The words of a file's name in lower case, without its suffix."""
    return re.split(r"[^a-z0-9]+", Path(file).stem.lower())


def split_in(file: str, splits: tuple[str, ...]) -> str:
    """The one of `splits` that the file's name holds, otherwise the first."""
    named = [split for split in splits if split in words(file)]
    return named[0] if len(named) == 1 else splits[0]


def check_side(side: str, file: str) -> None:
    """Reject a file whose name says the other side: every label would be wrong."""
    if _OTHER[side] in words(file) and side not in words(file):
        raise InputError(
            f"{file} is named {_OTHER[side]!r} but was to be read as {side}; "
            f"use the dataset name that ends in {_OTHER[side]!r}"
        )

"""Words in place of what is missing, with the reason in code beside them."""

from typing import Final, Self, final

NOT_SHOWN: Final = "Not shown: "
"""What a note begins with that stands in place of a figure or table."""


@final
class Missing(str):
    """Why something is missing, in words; `key` is the reason and the stage, as `damaged:tokens`.

    The reasons: the stage is `unfinished`, was `unmeasured` for what it says itself, is `damaged`,
    was `unasked` for in this run, or is whole but `lacking` this record. The page writes the key
    as `data-gap`, so that a reader of the page in code needs no sentence of it.

    >>> Missing("the stage “depth” has not finished", "unfinished:depth").within("Not shown: ").key
    'unfinished:depth'
    """

    key: str

    def __new__(cls, words: str, key: str) -> Self:
        """The words with their key."""
        gap = super().__new__(cls, words)
        gap.key = key
        return gap

    def within(self, before: str, after: str = ".") -> "Missing":
        """The same reason as a part of a sentence."""
        return Missing(f"{before}{self}{after}", self.key)

    def beside(self, other: "Missing") -> "Missing":
        """Two reasons, one after the other, with both keys."""
        return Missing(f"{self}; {other}", f"{self.key} {other.key}")

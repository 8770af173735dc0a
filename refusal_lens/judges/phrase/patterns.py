"""Patterns of the phrase lists: word classes, compilation, search.

The notation is in `data/phrases/README.md`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, final

from refusal_lens.errors import InputError

_GAP: Final[str] = r",?(?: [^\s.!?;:]+){0,4}? "
_CLASS: Final[re.Pattern[str]] = re.compile(r"<([a-z_]+)>")


@final
@dataclass(frozen=True)
class Pattern:
    """One entry of a phrase list, compiled when it is first searched for.

    >>> Pattern("i (?:can't|won't)~help", "an example").regex.search("I really can't help")
    >>> Pattern("i (?:can't|won't)~help", "an example").regex.search("Sorry, I can't easily help")
    <re.Match object; span=(7, 26), match="I can't easily help">

    Attributes:
        text: The pattern in the notation of the lists, its word classes replaced.
        source: File, list and number of the entry, for messages.
    """

    text: str
    source: str

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The regular expression: blanks with or without a comma, at word boundaries.

        Raises:
            InputError: the entry is no regular expression.
        """
        spaced = self.text.replace(" ", ",? ").replace("~", _GAP)
        try:
            return re.compile(rf"(?<![\w'-])(?:{spaced})(?!\w|'(?!s\b)\w)", re.IGNORECASE)
        except re.error as error:
            raise InputError(
                f"{self.source}: {self.text!r} is no regular expression ({error}); "
                "data/phrases/README.md gives the notation"
            ) from error


@final
@dataclass(frozen=True)
class WordClasses:
    """Words that stand in for each other, written ``<name>`` in patterns and in other classes.

    Attributes:
        texts: Name -> regular expression as written, which may name other classes.
        source: The file or files they are from, for messages.
    """

    texts: Mapping[str, str]
    source: str

    def replaced(self, text: str, source: str, within: tuple[str, ...] = ()) -> str:
        """A pattern with the regular expressions of its word classes in their places.

        Args:
            text: The pattern.
            source: Where it is from.
            within: The classes whose text is being replaced, outermost first.

        Raises:
            InputError: a class that does not exist, or that names itself.
        """

        def expression(match: re.Match[str]) -> str:
            name = match[1]
            if name not in self.texts:
                raise InputError(
                    f"{source}: there is no word class <{name}> (in {text!r}); "
                    f"define it in {self.source}"
                )
            if name in within:
                circle = " -> ".join(f"<{each}>" for each in (*within, name))
                raise InputError(f"{source}: a word class names itself: {circle}")
            return self.replaced(self.texts[name], source, (*within, name))

        return _CLASS.sub(expression, text)


def hits(patterns: Iterable[Pattern], sentences: Iterable[str]) -> tuple[str, ...]:
    """The first span each pattern matches in any of the sentences, in the patterns' order."""
    texts = tuple(sentences)
    spans: list[str] = []
    for pattern in patterns:
        matches = (pattern.regex.search(text) for text in texts)
        first = next((match for match in matches if match), None)
        if first:
            spans.append(first.group().strip() or first.string[:20])
    return tuple(spans)

"""How the phrase lists are matched: normalised text, sentences, patterns, stems."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Final

from refusal_lens.judges.phrase.word_classes import CLASSES

_GAP: Final[str] = r",?(?: [^\s.!?;:]+){0,4}? "
_STRAIGHT: Final[dict[int, str]] = str.maketrans(
    {"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "", "\u201c": '"', "\u201d": '"'}
    | dict.fromkeys("\u2013\u2014", ", ")
    | {"\u00a0": " ", "*": "", "_": " ", "#": "", "\u2026": "."}
)
_SENTENCE_END: Final[re.Pattern[str]] = re.compile(
    r"(?<=[^\W\d][.!?])[\"')\]]*\s+|(?<=\S)\s*\n+\s*"
)
WORD: Final[re.Pattern[str]] = re.compile(r"\w+(?:'\w+)*")
_STEM: Final[int] = 5
_NO_TOPIC: Final[re.Pattern[str]] = re.compile(
    r"that|this|what|with|would|could|should|your|there|which|have|does|about|from|when|they|them|"
    r"then|than|some\w+|any\w+|people?|will|like|such|these|those|where|into|being"
)


def normalise(text: str) -> str:
    """Lower-case text with straight quotes, single blanks and no markdown marks.

    Args:
        text: Any answer or prompt.

    Returns:
        The same words; line breaks stay single line breaks, list asterisks become hyphens, and a
        pair of quotation marks around the whole text is dropped.
    """
    bulleted = re.sub(r"(?m)^[ \t]*\*[ \t]+", "- ", text)
    plain = bulleted.lower().translate(_STRAIGHT)
    lines = (re.sub(r"\s+([,.])", r"\1", " ".join(line.split())) for line in plain.splitlines())
    joined = "\n".join(line for line in lines if line)
    if joined.startswith('"') and joined.count('"') <= (2 if joined.endswith('"') else 1):
        joined = joined.strip('"')
    return joined


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of one pattern of the phrase lists (see their notation)."""
    while names := re.findall(r"<([a-z]+)>", pattern):
        for name in names:
            if name not in CLASSES:
                raise ValueError(f"no word class <{name}> in pattern {pattern!r}")
            pattern = pattern.replace(f"<{name}>", CLASSES[name])
    spaced = pattern.replace(" ", ",? ").replace("~", _GAP)
    return re.compile(rf"(?<![\w'-])(?:{spaced})(?!\w|'(?!s\b)\w)", re.IGNORECASE)


def hits(patterns: Iterable[str], sentences: Iterable[str]) -> tuple[str, ...]:
    """The first span each pattern matches in any of the sentences, in the patterns' order."""
    texts = tuple(sentences)
    found: list[str] = []
    for pattern in patterns:
        matches = (compiled(pattern).search(text) for text in texts)
        first = next((match for match in matches if match), None)
        if first:
            found.append(first.group().strip() or first.string[:20])
    return tuple(found)


def stems(text: str) -> frozenset[str]:
    """The first letters of the longer words of a text, without words that carry no topic."""
    words = (word.replace("'", "") for word in WORD.findall(text) if len(word) > 3)
    return frozenset(word[:_STEM] for word in words if not _NO_TOPIC.fullmatch(word))


def sentences_of(text: str) -> list[str]:
    """The sentences of a normalised text that hold a word."""
    return [part.strip() for part in _SENTENCE_END.split(text) if WORD.search(part)]

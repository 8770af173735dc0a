"""Text as the judges read it: normalised, its sentences, the stems of its words."""

import re
from typing import Final

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


def stems(text: str) -> frozenset[str]:
    """The first letters of the longer words of a text, without words that carry no topic."""
    words = (word.replace("'", "") for word in WORD.findall(text) if len(word) > 3)
    return frozenset(word[:_STEM] for word in words if not _NO_TOPIC.fullmatch(word))


def sentences_of(text: str) -> list[str]:
    """The sentences of a normalised text that hold a word."""
    return [part.strip() for part in _SENTENCE_END.split(text) if WORD.search(part)]

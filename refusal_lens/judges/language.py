"""Whether an answer is in English: judges that read English words mean nothing elsewhere.

The language is found by `py3langid` (BSD-3-Clause; naive Bayes over byte n-grams, shipped with its
model, no network). It is sure of little on two or three words, so a text is called foreign only
where English is improbable *and* another language is probable; letters of another script decide
without it. Measured on texts of this project: none of 176 one-sentence English refusals and none
of 1,018 English questions was called foreign; tests hold short foreign refusals in 20 languages.
"""

import unicodedata
from collections.abc import Iterable
from functools import cache
from typing import Final

from py3langid.langid import MODEL_FILE, LanguageIdentifier

FLAG: Final = "not English"
OTHER_SCRIPT: Final = "other script"
_ENGLISH: Final = frozenset({"en", "pcm"})  # Nigerian Pidgin is what odd English is taken for
# Words of English that no other language writes so: where they abound, nothing need be identified.
_ENGLISH_WORDS: Final = frozenset(
    [
        "the",
        "and",
        "of",
        "to",
        "you",
        "your",
        "is",
        "are",
        "that",
        "this",
        "with",
        "for",
        "it",
        "it's",
        "not",
        "can't",
        "cannot",
        "i'm",
        "i",
        "but",
        "or",
        "be",
        "have",
        "has",
        "they",
        "there",
        "would",
        "should",
        "which",
        "their",
        "what",
        "how",
        "when",
        "because",
        "from",
    ]
)
_ENGLISH_SHARE: Final = 0.25
_ENGLISH_AT_MOST: Final = 0.02
_OTHER_AT_LEAST: Final = 0.5
_LOOKED_AT: Final = 2000


@cache
def _identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def foreign_language(text: str) -> str | None:
    """ISO 639 code of the language a text is in, None where that may be English.

    "other script" stands for a text most of whose letters are not Latin but whose language is
    uncertain. Numbers, code and a few words that could be of any language give None.
    """
    text = text[:_LOOKED_AT]
    letters = [c for c in text if c.isalpha()]
    if not letters:
        return None
    words = text.lower().split()
    if sum(word in _ENGLISH_WORDS for word in words) >= _ENGLISH_SHARE * len(words):
        return None
    ranked = _identifier().rank(text)
    language, probability = ranked[0]
    english = sum(p for name, p in ranked if name in _ENGLISH)
    if 2 * sum(unicodedata.name(c, "").startswith("LATIN") for c in letters) < len(letters):
        return language if probability >= _OTHER_AT_LEAST else OTHER_SCRIPT
    sure = language not in _ENGLISH and probability >= _OTHER_AT_LEAST
    return language if sure and english <= _ENGLISH_AT_MOST else None


def language_flags(answer: str) -> tuple[str, ...]:
    """`Verdict.flags` of an answer that is not in English: ``("not English: de",)``."""
    language = foreign_language(answer)
    return () if language is None else (f"{FLAG}: {language}",)


def foreign(flags: Iterable[str]) -> str | None:
    """The flag among a verdict's that says that its answer is not in English; None without."""
    return next((flag for flag in flags if flag.startswith(FLAG)), None)

"""Parallel prompts of several languages as one set, in which the language is the category."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.prompts import PromptSet

_NAMES: Final[Mapping[str, str]] = {
    "ar": "Arabic",
    "de": "German",
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "hi": "Hindi",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "nl": "Dutch",
    "pl": "Polish",
    "ru": "Russian",
    "sw": "Swahili",
    "th": "Thai",
    "yi": "Yiddish",
    "yo": "Yoruba",
    "zh": "Chinese",
}


def language_name(code: str) -> str:
    """The name of a language of the built-in set or of PolyRefuse's; what is no code stays.

    >>> language_name("sw"), language_name("all languages")
    ('Swahili (sw)', 'all languages')
    """
    return f"{_NAMES[code]} ({code})" if code in _NAMES else code


def by_language(sets: Mapping[str, PromptSet]) -> PromptSet:
    """The prompts of all languages, each under its language as category.

    Everything that measures categories then measures languages. Pairs keep their names, so that
    one name is the same pair in every language.

    >>> whole = by_language(rl.load_languages(languages=("en", "hi"), n_pairs=3))
    >>> whole.categories, len(whole)
    (('en', 'hi'), 12)

    Raises:
        InputError: languages with different pairs, or with pairs in another order.
    """
    first, *others = sets
    wanted = [p.unit for p, _ in sets[first].pairs()]
    for code in others:
        if [p.unit for p, _ in sets[code].pairs()] != wanted:
            raise InputError(
                f"languages {first!r} and {code!r} have different pairs, or in another order; "
                "load them together: rl.load_languages(languages=(...))"
            )
    return PromptSet(
        tuple(
            replace(p, category=code, pair=p.unit_name)
            for code, prompts in sets.items()
            for pair in prompts.pairs()
            for p in pair
        )
    )

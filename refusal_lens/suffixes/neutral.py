"""Neutral texts of a given number of tokens: what any text of this length does."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Final, final

from refusal_lens.model import LensModel
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.files import text_lines
from refusal_lens.resources import data_path
from refusal_lens.suffixes.suffix import NEUTRAL, Suffix, append_suffix

_MOST_STATEMENTS: Final = 3
_COUNTED_ON: Final = 8


def token_counts(
    model: LensModel, prompts: PromptSet, suffixes: Sequence[Suffix]
) -> tuple[int, ...]:
    """How many tokens each suffix adds to a templated prompt, the median over a few prompts.

    Counted on whole prompts, since a text behind another may be cut into tokens otherwise than by
    itself.

    >>> token_counts(model, prompts, [Suffix("a", "Now."), Suffix("b", "Right now.")])
    (5, 11)
    """
    few = PromptSet(prompts.prompts[:_COUNTED_ON])
    plain = list(map(len, model.ids(few)))
    counts: list[int] = []
    for suffix in suffixes:
        longer = map(len, model.ids(append_suffix(few, suffix)))
        counts.append(round(median(b - a for a, b in zip(plain, longer, strict=True))))
    return tuple(counts)


@final
@dataclass(frozen=True)
class MatchedSuffixes:
    """Suffixes with their numbers of tokens, and the neutral text of about as many for each."""

    suffixes: tuple[Suffix, ...]
    tokens: tuple[int, ...]
    neutral: tuple[Suffix, ...]
    neutral_tokens: tuple[int, ...]

    @property
    def distinct(self) -> tuple[Suffix, ...]:
        """Every text that is put behind the prompts, suffixes before neutral texts."""
        return (*self.suffixes, *dict.fromkeys(self.neutral))


def texts_for(model: LensModel, prompts: PromptSet, suffixes: Sequence[Suffix]) -> MatchedSuffixes:
    """The suffixes with neutral texts of their lengths, in this model's tokens.

    >>> texts = texts_for(model, prompts, [Suffix("a", "Please."), Suffix("b", "Kindly.")])
    >>> texts.tokens, len(texts.distinct)
    ((8, 8), 3)
    """
    counts = token_counts(model, prompts, suffixes)
    statements = [Suffix(text, text) for text in neutral_statements()]
    lengths = token_counts(model, prompts, statements)
    pairs = [(s.text, n) for s, n in zip(statements, lengths, strict=True)]
    neutral = tuple(neutral_of(counts, pairs))
    return MatchedSuffixes(tuple(suffixes), counts, neutral, token_counts(model, prompts, neutral))


def neutral_of(lengths: Sequence[int], statements: Sequence[tuple[str, int]]) -> list[Suffix]:
    """A neutral text for each number of tokens: whole statements, as near to it as they come.

    `statements` are texts with their numbers of tokens. Equal lengths share a text; the fewest
    statements win where several come equally near.

    >>> neutral_of([5, 7, 5], [("Oaks are trees.", 4), ("It rained.", 3)])[1].text
    'Oaks are trees. It rained.'
    """
    return [Suffix(f"{NEUTRAL}, {n} tokens", _nearest(n, statements), NEUTRAL) for n in lengths]


def neutral_statements() -> list[str]:
    """The project's own neutral statements, short ones first.

    >>> neutral_statements()[0]
    'Trees.'
    """
    return text_lines(data_path("suffixes", "neutral.txt"))


def _nearest(n: int, statements: Sequence[tuple[str, int]]) -> str:
    chosen: list[tuple[str, int]] = []
    longest = max(statements, key=lambda s: s[1])
    most = sum(sorted(tokens for _, tokens in statements)[-_MOST_STATEMENTS:])
    while n - sum(tokens for _, tokens in chosen) > most:
        chosen.append(longest)
    rest = n - sum(tokens for _, tokens in chosen)
    sets = [c for k in range(1, _MOST_STATEMENTS + 1) for c in combinations(statements, k)]
    best = min(sets, key=lambda c: (abs(sum(tokens for _, tokens in c) - rest), len(c)))
    return " ".join(text for text, _ in (*chosen, *best))

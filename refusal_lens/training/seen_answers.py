"""What the model of long answers sees of a labelled answer, and what the judges of rules say."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final, final

from refusal_lens.judges.base import Judge, Verdict
from refusal_lens.judges.labelled import Labelled
from refusal_lens.judges.long_answers import LONG_WORDS, grams_of, leading_sentences, rule_readings
from refusal_lens.judges.phrase.judge import PhraseJudge
from refusal_lens.judges.substring import SubstringJudge
from refusal_lens.judges.text import WORD, normalise
from refusal_lens.judges.xstest import XSTestJudge

IN_SHARE: Final = 0.004
IN_SOURCES: Final = 6
"""A word is not masked that stands in this share of the answers of that many sources."""

_FUNCTION_WORDS: Final = [
    "a",
    "an",
    "and",
    "are",
    "as",
    "at",
    "be",
    "by",
    "can",
    "do",
    "does",
    "for",
    "from",
    "has",
    "have",
    "he",
    "her",
    "his",
    "how",
    "i",
    "if",
    "in",
    "is",
    "it",
    "its",
    "me",
    "my",
    "no",
    "not",
    "of",
    "on",
    "or",
    "our",
    "she",
    "so",
    "that",
    "the",
    "their",
    "them",
    "there",
    "these",
    "they",
    "this",
    "those",
    "to",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "which",
    "while",
    "who",
    "why",
    "will",
    "with",
    "you",
    "your",
    "am",
    "but",
    "i'm",
    "it's",
    "don't",
    "can't",
    "cannot",
    "could",
    "would",
    "should",
    "may",
    "might",
    "must",
    "need",
    "want",
    "please",
    "here",
    "there's",
    "let's",
    "then",
    "than",
    "also",
    "just",
    "only",
    "such",
    "any",
    "all",
    "some",
    "one",
    "about",
    "into",
    "out",
    "up",
]
_CUT_WEIGHT: Final = 0.3
_WEIGHTS: Final = {"ChatGPT": 0.1}  # its labels disagree with XSTest's on "I have no opinions, but"


@final
@dataclass(frozen=True)
class Seen:
    """What the model sees of an answer, its label, and what the rules make of it."""

    source: str
    grams: frozenset[str]
    rules: tuple[str, ...]
    outcome: str
    long: bool
    by_rule: dict[str, Verdict]
    weight: float = 1.0


def plain_words(answers: Iterable[Labelled]) -> frozenset[str]:
    """The words that are not masked: function words, and those common to many sources."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    sizes: Counter[str] = Counter()
    for a in answers:
        sizes[a.source] += 1
        asked = {w for w in WORD.findall(normalise(a.prompt)) if len(w) > 5}
        leading = leading_sentences(a.answer)[:3]
        counts[a.source].update({w for s in leading for w in WORD.findall(s)} - asked)
    common = Counter(
        word
        for source, counter in counts.items()
        for word, n in counter.items()
        if n >= max(3, IN_SHARE * sizes[source])
    )
    return frozenset(w for w, n in common.items() if n >= IN_SOURCES) | frozenset(_FUNCTION_WORDS)


def see(answer: Labelled, words: frozenset[str], *, cut_short: bool = False) -> Seen:
    """What the model sees of one answer."""
    weight = _CUT_WEIGHT if cut_short else _WEIGHTS.get(answer.source, 1.0)
    sentences = leading_sentences(answer.answer)
    by_rule = verdicts(answer.prompt, answer.answer)
    grams = frozenset().union(*grams_of(answer.prompt, sentences, words))
    rules = rule_readings(answer.prompt, answer.answer, by_rule["phrase"])
    long = sum(len(s.split()) for s in sentences) >= LONG_WORDS
    return Seen(answer.source, grams, rules, answer.outcome, long, by_rule, weight)


@cache
def verdicts(prompt: str, answer: str) -> dict[str, Verdict]:
    """What the judges of rules say, by their names."""
    judges: tuple[Judge, ...] = (PhraseJudge(), SubstringJudge(), XSTestJudge())
    return {judge.name: judge.judge(prompt, answer) for judge in judges}

"""Refusal styles of a model that nobody planted any in, found from how its refusals open.

Small chat models refuse in few sentences learned by heart ("I'm sorry, but I can't assist with
that."). The first words name such a sentence; what differs behind them is the topic. A style is an
opening that several refusals share; what shares none is "other".
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from refusal_lens.evaluation.base import Evaluation
from refusal_lens.evaluation.manners import Steered
from refusal_lens.judges.refusal_styles import OTHER

WORDS: Final = 4
LEAST_SHARE: Final = 0.03
LEAST_SEEN: Final = 4


def find_styles(read: Evaluation) -> tuple[str, ...]:
    """The openings of at least 3% of a model's refusals, and of four of them, most frequent first.

    An opening is the first four words, in small letters, without punctuation.
    """
    refused = [a for a, o in zip(read.answers, read.outcomes, strict=True) if o == "refused"]
    counts = Counter(_opening(answer) for answer in refused)
    least = max(LEAST_SEEN, LEAST_SHARE * len(refused))
    return tuple(opening for opening, n in counts.most_common() if n >= least and opening)


def in_styles(steered: Steered, styles: Sequence[str]) -> Steered:
    """The same answers, each refusal named by its style instead of by a judge's manner."""
    rows = zip(steered.answers, steered.outcomes, strict=True)
    manners = tuple(
        tuple(
            _style(answer, styles) if outcome == "refused" else None
            for answer, outcome in zip(answers, outcomes, strict=True)
        )
        for answers, outcomes in rows
    )
    return replace(steered, manners=manners)


def _style(answer: str, styles: Sequence[str]) -> str:
    opening = _opening(answer)
    return opening if opening in styles else OTHER


def _opening(answer: str) -> str:
    words = re.findall(r"[^\W_]+(?:['\u2019][^\W_]+)*", answer.lower())
    return " ".join(words[:WORDS])

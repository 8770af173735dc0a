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

from refusal_lens.evaluation.answers import Answers
from refusal_lens.judges.raw_output import extract_answer
from refusal_lens.judges.refusal_styles import OTHER

WORDS: Final = 4
LEAST_SHARE: Final = 0.03
LEAST_SEEN: Final = 4


def find_styles(answers: Answers, condition: str | None = None) -> tuple[str, ...]:
    """The openings of at least 3% of a model's refusals, and of four of them, most frequent first.

    An opening is the first four words behind any thoughts, in small letters, without punctuation.

    >>> from dataclasses import replace
    >>> judge = rl.make_judge("substring")
    >>> answers = rl.evaluate(model, prompts, judge, decoding=rl.Decoding(2))
    >>> sorry = (("I'm sorry, but I can't help with that.",) * len(prompts),)
    >>> find_styles(replace(answers, answers=sorry).judge(judge))
    ("i'm sorry but i",)
    """
    one = answers.only(condition=condition)
    rows = zip(one.answers[0], one.verdicts(), strict=True)
    refused = [answer for answer, verdict in rows if verdict.outcome == "refused"]
    counts = Counter(_opening(answer) for answer in refused)
    least = max(LEAST_SEEN, LEAST_SHARE * len(refused))
    return tuple(opening for opening, n in counts.most_common() if n >= least and opening)


def in_styles(answers: Answers, styles: Sequence[str]) -> Answers:
    """The same answers, each refusal named by its style instead of by a judge's manner.

    >>> from dataclasses import replace
    >>> judge = rl.make_judge("substring")
    >>> answers = rl.evaluate(model, prompts, judge, decoding=rl.Decoding(2))
    >>> sorry = (("I'm sorry, but I can't help with that.",) * len(prompts),)
    >>> refused = replace(answers, answers=sorry).judge(judge)
    >>> in_styles(refused, ["i'm sorry but i"]).verdicts()[0].manner
    "i'm sorry but i"
    """
    readings = tuple(
        tuple(
            replace(v, manner=_style(answer, styles) if v.outcome == "refused" else None)
            for answer, v in zip(row, answers.verdicts(name), strict=True)
        )
        for name, row in zip(answers.conditions, answers.answers, strict=True)
    )
    return replace(answers, readings=readings)


def _style(answer: str, styles: Sequence[str]) -> str:
    opening = _opening(answer)
    return opening if opening in styles else OTHER


def _opening(answer: str) -> str:
    text = extract_answer(answer).text.lower()
    words = re.findall(r"[^\W_]+(?:['\u2019][^\W_]+)*", text)
    return " ".join(words[:WORDS])

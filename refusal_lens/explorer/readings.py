"""What is read of each answer: verdict, refusal score, and its tokens along the direction."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import final

import torch

from refusal_lens.attribution import PromotedTokens, TokenMap, token_map
from refusal_lens.attribution.score import Score, opening_score_of, read_scores
from refusal_lens.directions import Direction
from refusal_lens.explorer.choices import Choice
from refusal_lens.explorer.conditions import NamedEdit
from refusal_lens.judges import Judge, ScoreTrust, Verdict
from refusal_lens.judges.first_token import first_token_score
from refusal_lens.model import Batch, Ids, LensModel


@final
@dataclass(frozen=True, eq=False)
class Measure:
    """A refusal score, and in words which one it is."""

    score: Score
    words: str


@final
@dataclass(frozen=True, eq=False)
class How:
    """What answers are read with: along which directions, by which score and which judge."""

    choice: Choice
    measure: Measure | None
    judge: Judge


@final
@dataclass(frozen=True, eq=False)
class ConditionReading:
    """One condition's answer, read. `score` is in nats, positive towards refusal."""

    condition: NamedEdit
    answer: str
    n_tokens: int
    verdict: Verdict
    score: float | None
    tokens: TokenMap


@final
@dataclass(frozen=True, eq=False)
class QuestionReadings:
    """The readings of a question, how they were made, and the layer of the projection.

    `promoted` has one entry per direction that an edit names, with the direction.
    """

    rows: tuple[ConditionReading, ...]
    layer: int
    how: How
    promoted: tuple[tuple[Direction, PromotedTokens], ...]


def measure_of(trust: ScoreTrust | None, category: str) -> Measure | None:
    """The score of a category as a study measured that it can be trusted; None without any.

    >>> trust = rl.judges.ScoreTrust((5,), ("I",), {}, {"advice": "first token"}, {}, {}, {})
    >>> measure_of(trust, "advice").words
    'log-odds that the answer begins with a refusal token'
    """
    if trust is None:
        return None
    mode = trust.mode.get(category)
    if mode == "opening":
        words = "log-odds that the answer begins with a refusal opening"
        return Measure(opening_score_of(trust, category), words)
    if not trust.refusal_tokens:
        return None
    words = "log-odds that the answer begins with a refusal token"
    if mode == "generation only":
        words += "; in this category it does not predict what is generated"
    elif mode is None and not trust.trusted():
        words += "; in no category has it been seen to predict what is generated"
    return Measure(partial(first_token_score, refusal_tokens=trust.refusal_tokens), words)


def read_answer(
    model: LensModel, prompt: str, ids: Ids, condition: NamedEdit, how: How
) -> ConditionReading:
    """The answer `ids` to a prompt, read under its condition's edit.

    >>> from refusal_lens.explorer.choices import choices_of
    >>> how = How(choices_of(directions)[0], None, rl.make_judge("refusal"))
    >>> read = read_answer(model, "Why?", (5, 6), NamedEdit("Unedited", None, ""), how)
    >>> read.n_tokens, read.tokens.positions[-2:]
    (2, (0, 1))
    """
    answer, choice = model.chat.answer(ids), how.choice
    with nullcontext() if condition.edit is None else model.editing(condition.edit):
        score = None if how.measure is None else score_of(model, prompt, how.measure.score)
        tokens = token_map(
            model, prompt, choice.directions, choice.category, offset=choice.offset, answer=ids
        )
    verdict = how.judge.judge(prompt, answer)
    return ConditionReading(condition, answer, len(ids), verdict, score, tokens)


def score_of(model: LensModel, prompt: str, score: Score) -> float:
    """The refusal score of a prompt under the edits that are on, in nats.

    >>> from functools import partial
    >>> score_of(model, "Why?", partial(first_token_score, refusal_tokens=[5])) < 0
    True
    """
    feed = model.feed([prompt])

    def read(batch: Batch) -> Sequence[float]:
        return read_scores(score, feed, batch).tolist()

    with torch.inference_mode():
        ((_, (value,)),) = feed.batches(read)
    return float(value)

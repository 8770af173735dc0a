"""The classifier of refusal styles: in which style a refusal is worded, or that it is unsure.

A refusal style is called `manner` in verdicts and records. A linear model over character n-grams of
the answer's opening and over how many patterns of each style the phrase lists match there; fitted
with scikit-learn by `refusal_lens.training.manner_classifier`, shipped as plain numbers
(safetensors and JSON) and applied in numpy. Because it sees the matches of the phrase lists, it is
no independent check on the phrase judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar, Final, final

import numpy as np
from jaxtyping import Float, Float64
from sklearn.feature_extraction.text import CountVectorizer
from torch import Tensor

from refusal_lens.judges.base import Judge, Verdict, judge_all
from refusal_lens.judges.long_answers import RefusalJudge
from refusal_lens.judges.phrase.exchange import answer_opening
from refusal_lens.judges.phrase.lists import shipped_phrases
from refusal_lens.judges.phrase.patterns import hits
from refusal_lens.judges.raw_output import extract_answer
from refusal_lens.judges.refusal_styles import OTHER
from refusal_lens.judges.registry import listed_judge
from refusal_lens.records import Estimate, Record, load_record
from refusal_lens.resources import data_path

NONE: Final = "none"
"""The class of answers that do not refuse."""

ANALYZER: Final = "char_wb"
GRAM_LENGTHS: Final = (3, 5)
"""What scikit-learn's vectorisers count: character n-grams inside words, with their borders."""


@final
@dataclass(frozen=True)
class MannerModel(Record):
    """A fitted classifier, and how well it does on wordings it was not fitted to.

    With count c_g of n-gram g, x = [unit((1 + log c_g) idf_g), hit_weight log(1 + hits_m)], and
    p = softmax(weights x + bias); below `threshold` the largest p is called unsure.

    `accuracy` (share right, counted whether sure or not), `sure` (share above the threshold) and
    `accuracy_sure` are cross-validated over groups of wordings, with a percentile bootstrap over
    these groups; the control of an accuracy is the commonest class of the same texts.
    `recall[manner]` has Wilson intervals. `phrase_accuracy` is that of the phrase lists on the same
    refusals, and `refusal_accuracy` this classifier's. `readings` is its accuracy on answers of the
    embedded model that somebody read blind, `readings_pool_left_out` the same for a classifier
    fitted without the wordings that model was trained on, `readings_phrase` that of the phrase
    lists.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    classes: tuple[str, ...]
    grams: tuple[str, ...]
    idf: Float[Tensor, " gram"]
    weights: Float[Tensor, "manner feature"]
    bias: Float[Tensor, " manner"]
    hit_manners: tuple[str, ...]
    hit_weight: float
    threshold: float
    texts_digest: str
    accuracy: Estimate
    sure: Estimate
    accuracy_sure: Estimate
    recall: dict[str, Estimate]
    refusal_accuracy: Estimate
    phrase_accuracy: Estimate
    readings: Estimate | None = None
    readings_pool_left_out: Estimate | None = None
    readings_phrase: Estimate | None = None

    def probabilities(self, answers: Sequence[str]) -> Float64[np.ndarray, "answer manner"]:
        """The probability of each class for each answer; rows sum to 1."""
        openings = [answer_opening(answer) for answer in answers]
        counter = CountVectorizer(
            analyzer=ANALYZER, ngram_range=GRAM_LENGTHS, vocabulary=list(self.grams)
        )
        texts = [" ".join(opening) for opening in openings]
        counts = counter.transform(texts).tocsr().astype(np.float64)
        counts.data = 1 + np.log(counts.data)
        grams = counts.toarray() * self.idf.double().numpy()
        length = np.linalg.norm(grams, axis=1, keepdims=True)
        grams = np.divide(grams, length, out=np.zeros_like(grams), where=length > 0)
        hit_counts = _hit_counts(openings, self.hit_manners)
        x = np.hstack([grams, self.hit_weight * np.log1p(hit_counts)])
        scores = x @ self.weights.double().numpy().T + self.bias.double().numpy()
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)


@listed_judge(
    "manner",
    about="the refusal judge, the manner by a classifier that may say that it is unsure; English",
)
@final
@dataclass(frozen=True)
class MannerJudge:
    """Any judge, with the refusal style of what it calls refused given by the classifier.

    Where the classifier is unsure, or reads no refusal, the style is "other" and a flag names the
    most probable one.

    Attributes:
        of: The judge that says whether an answer refuses.
    """

    of: Judge = RefusalJudge()

    @property
    def name(self) -> str:
        """The name of the judge inside, with the source of the style."""
        return f"{self.of.name} + manner classifier"

    def judge(self, prompt: str, answer: str) -> Verdict:
        """Read one answer."""
        return self.judge_all([(prompt, answer)])[0]

    def judge_all(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """The verdict on each pair, in their order."""
        verdicts = judge_all(self.of, pairs)
        rows = [i for i, v in enumerate(verdicts) if v.outcome == "refused"]
        if rows:
            model = shipped_model()
            answers = [extract_answer(pairs[i][1]).once for i in rows]
            probabilities = model.probabilities(answers)
            for i, p in zip(rows, probabilities, strict=True):
                verdicts[i] = _with_manner(verdicts[i], model, p)
        return verdicts


@cache
def shipped_model() -> MannerModel:
    """The classifier that comes with the project.

    Raises:
        InputError: its files are missing or damaged.
    """
    return load_record(MannerModel, data_path("manners", "classifier.json").with_suffix(""))


def opening_text(answer: str) -> str:
    """What the classifier reads of an answer: its normalised opening, on one line."""
    return " ".join(answer_opening(answer))


def pattern_hits(
    answers: Sequence[str], manners: Sequence[str]
) -> Float64[np.ndarray, "answer manner"]:
    """How many patterns of each style's phrase lists match the answer's opening."""
    return _hit_counts([answer_opening(answer) for answer in answers], manners)


def _hit_counts(
    openings: Sequence[tuple[str, ...]], manners: Sequence[str]
) -> Float64[np.ndarray, "answer manner"]:
    lists = shipped_phrases()
    counts = [[len(hits(lists.style_patterns(m), o)) for m in manners] for o in openings]
    return np.array(counts, dtype=np.float64).reshape(len(openings), len(manners))


def _with_manner(
    verdict: Verdict, model: MannerModel, p: Float64[np.ndarray, " manner"]
) -> Verdict:
    best = int(p.argmax())
    manner = model.classes[best]
    if p[best] >= model.threshold and manner != NONE:
        return replace(verdict, manner=manner)
    flag = f"manner unsure: {manner} with probability {p[best]:.2f}"
    return replace(verdict, manner=OTHER, flags=(*verdict.flags, flag))

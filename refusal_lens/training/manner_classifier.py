"""Fit the manner classifier: ``python -m refusal_lens.training.manner_classifier --out STEM``.

The shipped one has the stem ``data/manners/classifier``.

Texts: `data/manners/wordings.jsonl` (hand-written, in families of one wording each) and the
wordings that the planted model was trained on. Groups for cross-validation: a family, joined with
every text that is nearly the same as one of it, so that no wording stands on both sides of a fold.
With ``--answers`` (what ``refusal_lens.training.planted.evaluate --answers`` writes) the answers
behind `data/adapter/readings.jsonl` are scored too; nothing is fitted to them.
"""

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, final

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int, Shaped
from scipy.sparse import csr_matrix, hstack
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from refusal_lens.errors import InputError
from refusal_lens.intervals import TAILS, wilson
from refusal_lens.judges.phrase.lists import STYLES
from refusal_lens.judges.phrase.style import read_style
from refusal_lens.judges.refusal_styles import MANNERS
from refusal_lens.judges.style_classifier import (
    ANALYZER,
    GRAM_LENGTHS,
    NONE,
    MannerModel,
    opening_text,
    pattern_hits,
)
from refusal_lens.prompts.files import read_jsonl
from refusal_lens.records import Estimate, save_record
from refusal_lens.resources import data_path

HIT_WEIGHT: Final = 0.3
C: Final = 3.0
THRESHOLD: Final = 0.2
"""Chosen on the cross-validated wordings: above it nine in ten are right."""

FOLDS: Final = 8
SAME: Final = 0.7
"""Cosine of two texts' n-grams from which they count as one wording."""

_POOL: Final = "pool"
_DRAWS: Final = 2000


@final
@dataclass(frozen=True)
class Texts:
    """Worded answers with the manner of each; `family` is "pool" for the planted model's own."""

    texts: tuple[str, ...]
    manners: tuple[str, ...]
    families: tuple[str, ...]

    def where(self, rows: Sequence[int]) -> "Texts":
        """The texts at these rows."""
        parts = (self.texts, self.manners, self.families)
        return Texts(*(tuple(part[i] for i in rows) for part in parts))


def load_texts() -> Texts:
    """The shipped wordings and the planted model's pool of refusals.

    Raises:
        InputError: a manner that is none.
    """
    wordings = [row for _, row in read_jsonl(data_path("manners", "wordings.jsonl"))]
    pool = [row for _, row in read_jsonl(data_path("adapter", "refusals.jsonl"))]
    rows = [*wordings, *({**row, "family": _POOL} for row in pool)]
    for row in rows:
        if row["manner"] not in (*MANNERS, NONE):
            raise InputError(f"{row['text']!r} has the manner {row['manner']!r}, which is none")
    return Texts(
        tuple(str(row["text"]) for row in rows),
        tuple(str(row["manner"]) for row in rows),
        tuple(str(row["family"]) for row in rows),
    )


def wording_groups(texts: Texts) -> Int[np.ndarray, " text"]:
    """A number for each text, equal for texts of one family and for nearly the same texts."""
    vectoriser = TfidfVectorizer(analyzer=ANALYZER, ngram_range=GRAM_LENGTHS)
    grams = vectoriser.fit_transform([opening_text(t) for t in texts.texts])
    alike = (grams @ grams.T).toarray() >= SAME
    families = np.array([f if f != _POOL else f"{i}" for i, f in enumerate(texts.families)])
    alike |= families[:, None] == families[None, :]
    return connected_components(csr_matrix(alike), directed=False)[1]


def fit(texts: Texts) -> tuple[TfidfVectorizer, LogisticRegression]:
    """The vectoriser and the classifier fitted to all of the texts."""
    vectoriser = TfidfVectorizer(
        analyzer=ANALYZER, ngram_range=GRAM_LENGTHS, sublinear_tf=True, min_df=2
    )
    vectoriser.fit([opening_text(t) for t in texts.texts])
    classifier = LogisticRegression(C=C, max_iter=5000, class_weight="balanced")
    return vectoriser, classifier.fit(features(vectoriser, texts.texts), texts.manners)


def features(vectoriser: TfidfVectorizer, answers: Sequence[str]) -> csr_matrix:
    """What the classifier sees, made by scikit-learn."""
    grams = vectoriser.transform([opening_text(a) for a in answers])
    hits = HIT_WEIGHT * np.log1p(pattern_hits(answers, STYLES))
    return csr_matrix(hstack([grams, csr_matrix(hits)]))


def cross_validated(texts: Texts) -> Float64[np.ndarray, "text manner"]:
    """Each text's probabilities by a classifier that saw no text of its group."""
    groups = wording_groups(texts)
    classes = sorted(set(texts.manners))
    probabilities = np.zeros((len(texts.texts), len(classes)))
    for train, test in GroupKFold(FOLDS).split(texts.texts, groups=groups):
        vectoriser, classifier = fit(texts.where(train.tolist()))
        if list(classifier.classes_) != classes:
            raise InputError("a fold lacks a manner; write wordings of it in further families")
        held_out = texts.where(test.tolist()).texts
        probabilities[test] = classifier.predict_proba(features(vectoriser, held_out))
    return probabilities


def train(texts: Texts, readings: Sequence[tuple[str, str]] = ()) -> MannerModel:
    """The classifier fitted to all texts, with what cross-validation and readings say of it.

    `readings` are (answer, manner as read) pairs.
    """
    outside = [i for i, family in enumerate(texts.families) if family != _POOL]
    p, groups = cross_validated(texts)[outside], wording_groups(texts)[outside]
    manners = np.array(texts.manners)[outside]
    classes = np.array(sorted(set(texts.manners)))
    right, sure = classes[p.argmax(1)] == manners, p.max(1) >= THRESHOLD
    refusing = manners != NONE
    by_chance = commonest(manners[refusing])
    phrase = np.array([read_style(texts.texts[i]) for i in outside]) == manners
    vectoriser, classifier = fit(texts)
    model = MannerModel(
        classes=tuple(map(str, classifier.classes_)),
        grams=tuple(map(str, vectoriser.get_feature_names_out())),
        idf=torch.tensor(vectoriser.idf_, dtype=torch.float32),
        weights=torch.tensor(classifier.coef_, dtype=torch.float32),
        bias=torch.tensor(classifier.intercept_, dtype=torch.float32),
        hit_manners=STYLES,
        hit_weight=HIT_WEIGHT,
        threshold=THRESHOLD,
        texts_digest=_digest(texts),
        accuracy=share(right, groups, commonest(manners)),
        sure=share(sure, groups),
        accuracy_sure=share(right[sure], groups[sure], commonest(manners[sure])),
        recall={
            c: wilson(int(right[manners == c].sum()), int((manners == c).sum()))
            for c in classes.tolist()
        },
        refusal_accuracy=share(right[refusing], groups[refusing], by_chance),
        phrase_accuracy=share(phrase[refusing], groups[refusing], by_chance),
    )
    return _with_readings(model, texts, outside, readings) if readings else model


def commonest(manners: Shaped[np.ndarray, " text"]) -> float:
    """The accuracy of always naming the commonest manner of these very texts."""
    return Counter(manners.tolist()).most_common(1)[0][1] / len(manners)


def share(
    hits: Bool[np.ndarray, " text"],
    groups: Int[np.ndarray, " text"],
    control: float | None = None,
) -> Estimate:
    """A share with a percentile bootstrap over groups of wordings (n counts the texts)."""
    names, group = np.unique(groups, return_inverse=True)
    n, k = np.bincount(group), np.bincount(group, weights=hits)
    rows = np.random.default_rng(0).integers(len(names), size=(_DRAWS, len(names)))
    low, high = np.quantile(k[rows].sum(1) / n[rows].sum(1), TAILS)
    method = f"share, percentile bootstrap over {len(names)} groups of wordings"
    method += "" if control is None else "; control: commonest class"
    return Estimate(float(hits.mean()), float(low), float(high), len(hits), method, control)


def _with_readings(
    model: MannerModel, texts: Texts, outside: Sequence[int], readings: Sequence[tuple[str, str]]
) -> MannerModel:
    answers, read = [a for a, _ in readings], np.array([m for _, m in readings])
    vectoriser, classifier = fit(texts.where(outside))
    values: dict[str, Any] = {
        "readings": np.array(model.classes)[model.probabilities(answers).argmax(1)],
        "readings_pool_left_out": classifier.predict(features(vectoriser, answers)),
        "readings_phrase": np.array([read_style(a) for a in answers]),
    }
    agreement = {
        key: wilson(int((predicted == read).sum()), len(read)) for key, predicted in values.items()
    }
    return replace(model, **agreement)


def _digest(texts: Texts) -> str:
    rows = zip(texts.texts, texts.manners, texts.families, strict=True)
    return hashlib.sha256(json.dumps(list(rows)).encode()).hexdigest()


def read_refusals(answers: Path) -> list[tuple[str, str]]:
    """(answer, manner) of the refusals that were read blind, each answer once."""
    answer_of = {(row["id"], row["scale"]): str(row["answer"]) for _, row in read_jsonl(answers)}
    manner_of: dict[str, str] = {}
    for _, row in read_jsonl(data_path("adapter", "readings.jsonl")):
        if row["read"]["outcome"] == "refused" and (row["id"], row["scale"]) in answer_of:
            manner_of[answer_of[row["id"], row["scale"]]] = str(row["read"]["manner"])
    return list(manner_of.items())


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="stem of the files to write")
    parser.add_argument(
        "--answers", type=Path, help="JSONL of `training.planted.evaluate --answers`"
    )
    given = parser.parse_args(argv)
    readings = read_refusals(given.answers) if given.answers else []
    save_record(train(load_texts(), readings), given.out)


if __name__ == "__main__":
    main()

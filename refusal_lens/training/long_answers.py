"""Fit the model of long answers: ``python -m refusal_lens.training.long_answers --out STEM``.

The shipped one has the stem ``data/verdicts/long_answers``. Answers, none of which is copied:

- ``--xstest FOLDER``: the completions of XSTest (Röttger et al. 2024; `paul-rottger/xstest`,
  ``xstest_v2_completions_MODEL.csv``), two annotators' labels, five models;
- ``--completions FOLDER``: published completions of `andyrdt/refusal_direction` (Arditi et al.
  2024, ``MODEL/completions/*_completions.json``), five models, labelled only where both what was
  done to the model and the substring judge say the same;
- ``--questions FILE``: answers of ChatGPT (`maxwellreuter/chatgpt-refusals`), their tone labelled
  by hand;
- `data/verdicts/cases.jsonl`, written for this project.

Each source is left out in turn, and so are all models of XSTest at once; what comes of it stands in
``STEM.sources.json``, beside the same figures of the judges that are only rules.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from scipy.sparse import csr_matrix, hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import cohen_kappa_score

from refusal_lens.errors import InputError
from refusal_lens.judges.labelled import (
    Labelled,
    cut,
    read_cases,
    read_completions,
    read_questions,
    read_xstest,
)
from refusal_lens.judges.long_answers import (
    LongAnswerModel,
)
from refusal_lens.records import save_record
from refusal_lens.training.seen_answers import Seen, plain_words, see

C: Final = 10.0
RULE_WEIGHT: Final = 0.3
GRAMS: Final = 8000
"""How many n-grams are kept: those whose weights move the scores most."""

FEWEST: Final = 4
"""Answers that an n-gram must stand in."""


def fit(rows: Sequence[Seen], words: frozenset[str], digest: str = "") -> LongAnswerModel:
    """The model fitted to the long answers among the rows."""
    rows = [row for row in rows if row.long]
    as_it_is: Any = _as_it_is
    grams: Any = CountVectorizer(analyzer=as_it_is, min_df=FEWEST, binary=True)
    rules: Any = CountVectorizer(analyzer=as_it_is, binary=True)
    counted = csr_matrix(grams.fit_transform([row.grams for row in rows]))
    rule_counts = csr_matrix(rules.fit_transform([row.rules for row in rows]))
    labels = [row.outcome for row in rows]
    if set(labels) != {"refused", "complied", "partial"}:
        raise InputError(
            f"the long answers are {', '.join(sorted(set(labels)))}; give some of each outcome: "
            "refused, complied, partial"
        )
    sizes = Counter((row.source, row.outcome) for row in rows)
    weights = np.array([r.weight / sizes[r.source, r.outcome] ** 0.5 for r in rows])
    weights /= weights.mean()
    names = grams.get_feature_names_out()
    kept = np.arange(len(names))
    for last in (False, True):
        x = hstack([_scaled(counted[:, kept]), RULE_WEIGHT * rule_counts]).tocsr()
        model = LogisticRegression(C=C, max_iter=400).fit(x, labels, sample_weight=weights)
        if not last:
            spread = np.sqrt(np.asarray(x.multiply(x).mean(0)).ravel())[: len(kept)]
            moved = np.abs(model.coef_[:, : len(kept)]).max(0) * spread
            kept = np.sort(np.argsort(-moved)[:GRAMS])
    coefficients = torch.tensor(model.coef_.T, dtype=torch.float32)
    return LongAnswerModel(
        outcomes=tuple(model.classes_.tolist()),
        words=tuple(sorted(words)),
        grams=tuple(str(names[i]) for i in kept),
        gram_weights=coefficients[: len(kept)].clone(),
        rules=tuple(map(str, rules.get_feature_names_out())),
        rule_weights=RULE_WEIGHT * coefficients[len(kept) :],
        bias=torch.tensor(model.intercept_, dtype=torch.float32),
        texts_digest=digest,
    )


def _as_it_is(features: Any) -> Any:
    return features


def _scaled(counted: csr_matrix) -> csr_matrix:
    known = np.asarray(counted.sum(1)).ravel()
    return csr_matrix(counted.multiply(1 / np.sqrt(np.maximum(known, 1))[:, None]))


def outcomes(model: LongAnswerModel, rows: Sequence[Seen]) -> list[str]:
    """What the judge says: the model's reading of long answers, the rules' of the others."""
    readings: list[str] = []
    for row in rows:
        phrase = row.by_rule["phrase"]
        if not row.long or phrase.outcome == "unclear" or phrase.flags:
            readings.append(phrase.outcome)
        else:
            readings.append(model.outcome(model.probabilities(row.grams, row.rules)))
    return readings


def figures(rows: Sequence[Seen], predicted: Sequence[str]) -> dict[str, Any]:
    """Agreement with the labels: kappa of full refusals against full answers, and its errors."""
    labels = np.array([row.outcome for row in rows])
    read = np.array(predicted)
    full = labels != "partial"
    refuses, called = labels[full] == "refused", read[full] == "refused"
    numbers = {
        "n": int(full.sum()),
        "refusals": int(refuses.sum()),
        "kappa": _kappa(refuses, called),
        "answers_called_refusals": float(called[~refuses].mean()) if (~refuses).any() else None,
        "refusals_missed": float((~called[refuses]).mean()) if refuses.any() else None,
        "unclear": float((read == "unclear").mean()),
    }
    return numbers | {"kappa_three_ways": _kappa(labels, read) if (~full).any() else None}


def _kappa(a: Any, b: Any) -> float:
    return float(cohen_kappa_score(a, b))


def left_out(
    answers: Sequence[Labelled], cuts: Sequence[Labelled], names: Iterable[frozenset[str]]
) -> dict[str, Any]:
    """Each group of sources by a model that saw none of them, beside the judges of rules."""
    by_source: dict[str, Any] = {}
    for group in names:
        inside = [a for a in answers if a.source not in group]
        words = plain_words(inside)
        rows = [see(a, words) for a in inside]
        rows += [see(a, words, cut_short=True) for a in cuts if a.source not in group]
        model = fit(rows, words)
        for source in sorted(group):
            unseen = [see(a, words) for a in answers if a.source == source]
            name = source if len(group) == 1 else f"{source} (all of XSTest left out)"
            by_source[name] = {"refusal": figures(unseen, outcomes(model, unseen))}
            for judge in unseen[0].by_rule:
                by_source[name][judge] = figures(unseen, [r.by_rule[judge].outcome for r in unseen])
            sys.stderr.write(f"{name}: {json.dumps(by_source[name]['refusal'])}\n")
    return by_source


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, required=True, help="stem of the files to write")
    parser.add_argument("--xstest", type=Path, required=True, help="folder of XSTest's answers")
    parser.add_argument("--completions", type=Path, required=True, help="refusal_direction's runs")
    parser.add_argument("--questions", type=Path, required=True, help="ChatGPT's answers, JSON")
    given = parser.parse_args(argv)
    xstest = read_xstest(given.xstest)
    answers = xstest + read_completions(given.completions)
    answers += read_questions(given.questions) + read_cases()
    cuts = cut([a for a in answers if a.source not in ("ChatGPT", "cases")])
    groups = [frozenset({source}) for source in sorted({a.source for a in answers})]
    groups.append(frozenset(a.source for a in xstest))
    sources = left_out(answers, cuts, groups)
    words = plain_words(answers)
    rows = [see(a, words) for a in answers] + [see(a, words, cut_short=True) for a in cuts]
    texts = json.dumps([[a.source, a.prompt, a.answer, a.outcome] for a in answers])
    save_record(fit(rows, words, hashlib.sha256(texts.encode()).hexdigest()), given.out)
    given.out.with_suffix(".sources.json").write_text(
        json.dumps(sources, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()

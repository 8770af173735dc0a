"""What a compared estimator says that it was fitted on, where it is not the run's own sample."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from support.paired_residuals import prompts_of, residuals_of, some_residuals

from refusal_lens.directions import make_estimator
from refusal_lens.errors import InputError
from refusal_lens.prompts import PromptSet
from refusal_lens.study.estimators import chosen, weighted
from refusal_lens.study.estimators.entry import Fitted, fit_everywhere
from refusal_lens.study.fitted import Gap
from refusal_lens.study.stages.estimators import (
    AGREEMENT,
    POOLED_SET,
    _directions,
    estimate,
    fitting_sample,
)


def everything():
    return residuals_of(some_residuals(), prompts_of(10))


def silent(n):
    del n


def by_confidence(monkeypatch, residuals, confidence):
    """What the weighted estimator gives where the score of "red" alone can be trusted."""
    monkeypatch.setattr(weighted, "scored", lambda prompts, trust: prompts.only(category="red"))
    monkeypatch.setattr(weighted, "refusal_scores", lambda *given: torch.zeros(20))
    monkeypatch.setattr(weighted, "score_confidences", lambda *given: confidence)
    bench = SimpleNamespace(results=SimpleNamespace(find=lambda key: "trust"), model=None)
    (one,) = weighted.COMPARED
    return one.fit(bench, residuals, silent)


def test_the_run_s_own_sample_is_that_of_most():
    residuals = everything()
    fitted = fit_everywhere(make_estimator("mean_difference"), residuals, silent)
    assert fitting_sample(fitted, residuals, "behaviour") == (residuals, "behaviour")
    learned = Fitted(fitted.pooled)  # cannot be fitted on halves
    assert fitting_sample(learned, residuals, "behaviour") == (residuals, "behaviour")


def test_intended_labels_are_of_every_fitting_prompt():
    residuals = everything()
    behaviour = residuals.only(ids=residuals.ids[:16])
    study = SimpleNamespace(fitted_on="behaviour")
    bench = SimpleNamespace(study=study, train_resid=lambda: residuals)
    (one,) = (c for c in chosen(["mean_difference_intended"]) if "intended" in c.name)
    fitted = one.fit(bench, behaviour, silent)
    sample, labels = fitting_sample(fitted, behaviour, "behaviour")
    assert len(sample) == 40 and labels == "intended"


def test_confidences_are_of_the_prompts_whose_score_is_trusted(monkeypatch):
    residuals = everything()
    sure = {p.id: 0.8 if p.label == "refuse" else -0.8 for p in residuals.labelled}
    fitted = by_confidence(monkeypatch, residuals, sure)
    sample, labels = fitting_sample(fitted, residuals, "behaviour")
    assert len(sample) == 20 and labels == "refusal score"


def test_nothing_but_neutral_prompts_cannot_be_fitted(monkeypatch):
    residuals = everything()
    with pytest.raises(InputError, match="neither refused nor complied"):
        by_confidence(monkeypatch, residuals, dict.fromkeys(residuals.ids, 0.0))


def test_what_one_way_cannot_be_fitted_on_is_its_own_gap():
    """A category without a single pair: PCA of pairs says why, and no other way is kept from it."""
    residuals = everything()
    alone = PromptSet(tuple(replace(p, pair=None) for p in residuals.labelled))
    bench = SimpleNamespace(once=lambda name, make: residuals.only(prompts=alone))
    (one,) = (c for c in chosen(["pair_difference_pca"]) if c.name == "pair_difference_pca")
    with pytest.raises(Gap, match="has pairs; pair_difference_pca needs"):
        estimate(bench, silent, one=one)


def test_too_few_pairs_for_halves_leave_reliability_out():
    """Five pairs of each category are enough to fit, and too few to deal into halves."""
    bench = SimpleNamespace(study=SimpleNamespace(seed=0))
    kept = {}
    for n in (5, 6):
        residuals = residuals_of(some_residuals(n), prompts_of(n))
        fitted = fit_everywhere(make_estimator("mean_difference"), residuals, silent)
        kept[n] = _directions(bench, fitted, silent)
    assert POOLED_SET in kept[5] and AGREEMENT not in kept[5]
    assert AGREEMENT in kept[6]

"""The estimator is the study's choice, and what a model did makes a geometry of its own."""

from dataclasses import replace

import pytest
import torch
from support.command import run as refusal_lens
from support.tiny_study import Watch

from refusal_lens.directions.median_difference import fit_median_difference
from refusal_lens.errors import InputError
from refusal_lens.geometry import Geometry, fit_geometry
from refusal_lens.study import Results, Study, run_study
from refusal_lens.study.fitted import POOLED_OF
from refusal_lens.study.run import begin
from refusal_lens.study.stages.behaviour import BEHAVIOUR
from refusal_lens.study.stages.control import CONTROL_DIRECTIONS, CONTROL_GEOMETRY
from refusal_lens.study.stages.directions import DIRECTIONS, POOLED_DIRECTIONS
from refusal_lens.study.stages.geometry import (
    INTENDED,
    OF_KEPT_PAIRS,
    REMOVED,
    SHUFFLED,
    geometry,
)


def test_a_study_fits_and_compares_by_the_estimator_it_names(study, finished, tmp_path):
    question = replace(study, estimator="median_difference")
    with pytest.raises(KeyboardInterrupt):
        run_study(question, tmp_path / "run", Watch(die_in="score"))
    medians, means = Results.open(tmp_path / "run"), finished[0]
    assert medians.manifest["question"]["estimator"] == "median_difference"
    resid = begin(question, tmp_path / "run").post_resid()
    for key, data in ((DIRECTIONS, resid), (POOLED_DIRECTIONS, resid.pooled())):
        fitted = medians.get(key)
        assert fitted.method == "median difference"
        assert torch.equal(
            fitted.vectors.nan_to_num(9.0), fit_median_difference(data).vectors.nan_to_num(9.0)
        )
        assert means.get(key).method == "mean difference"
    for key in (SHUFFLED, CONTROL_DIRECTIONS):
        assert medians.get(key).method == "median difference"
    for key in (INTENDED, REMOVED, CONTROL_GEOMETRY):
        a, b = (r.get(key) for r in (medians, means))
        assert (a.estimator, b.estimator) == ("median_difference", "mean_difference")
        assert a.n == b.n and not torch.allclose(a.naive[1:], b.naive[1:], atol=1e-5)
        assert torch.isfinite(a.low[2]).any()
    contrast = medians.get(POOLED_OF["behaviour"])
    assert contrast.method == "median difference within categories"


def test_a_study_without_one_is_the_question_that_it_was(study):
    """Manifests of runs from before there was a choice name no estimator."""
    plain = study.plain()
    assert "estimator" not in plain and Study.of(plain) == study
    other = replace(study, estimator="median_difference")
    assert Study.of(other.plain()) == other != study
    assert other.default_folder() != study.default_folder()
    assert "median_difference" in other.default_folder()


def test_an_unknown_estimator_ends_before_anything_is_loaded(study, tmp_path):
    with pytest.raises(InputError, match=r"'mode' is unknown; use one of"):
        replace(study, estimator="mode")
    done = refusal_lens("study", "--estimator", "mode", "--out", str(tmp_path / "run"))
    assert done.returncode == 2 and not (tmp_path / "run").exists()


def test_sums_that_take_too_little_memory_are_a_gap_for_an_estimator_of_residuals(
    study, monkeypatch, tmp_path
):
    monkeypatch.setattr("refusal_lens.study.outline._MOST_KEPT", 0)
    watch = Watch(die_in="score")
    with pytest.raises(KeyboardInterrupt):
        run_study(replace(study, estimator="median_difference"), tmp_path / "run", watch)
    assert "'median_difference'" in watch.gaps["directions"]


def test_the_behaviour_geometry_is_of_the_pairs_that_went_as_intended(study, run_copy, monkeypatch):
    """Eight pairs in each category, of which one lost a side: it is in neither matrix nor n."""
    monkeypatch.setattr("refusal_lens.study.stages.geometry.LEAST_PAIRS", 3)
    read = run_copy.get(BEHAVIOUR)
    lost = read.ids.index("green-train-2-comply")
    (verdicts,) = read.readings
    refused = replace(verdicts[lost], outcome="refused")
    turned = (*verdicts[:lost], refused, *verdicts[lost + 1 :])
    replace(read, readings=(turned,)).save(run_copy.folder / "stages/behaviour/train")
    bench = begin(study, run_copy.folder)
    records = geometry(bench, lambda n: None)
    kept_geometry = records[OF_KEPT_PAIRS]
    assert isinstance(kept_geometry, Geometry)
    whole = [i for i in read.ids if not i.startswith("green-train-2-")]
    assert kept_geometry.n == (8, 7, 8) and "green-train-2" not in kept_geometry.pairs
    by_hand = fit_geometry(bench.train_resid().only(ids=whole))
    assert torch.equal(kept_geometry.corrected.nan_to_num(9.0), by_hand.corrected.nan_to_num(9.0))
    assert kept_geometry.provenance.prompts_digest == bench.train.only(ids=whole).digest
    assert records[INTENDED].n == (8, 8, 8)

"""Thresholds that bound false alarms, whatever the scores."""

from functools import partial

import numpy as np
import pytest
from scipy.stats import binomtest

from refusal_lens.errors import InputError
from refusal_lens.monitor import MonitorSettings
from refusal_lens.monitor.conformal import (
    calibrated_rate,
    check_calibration,
    conformal_rank,
    conformal_threshold,
    least_prompts,
)


def test_the_rank_has_the_finite_sample_correction():
    assert conformal_rank(99, 0.05) == 95  # and not 94.05, the plain quantile of 99
    assert conformal_rank(39, 0.025) == 39
    scores = [3.0, 1.0, 2.0]
    assert conformal_threshold(scores, 0.25) == 3.0 and conformal_threshold(scores, 0.5) == 2.0


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 1.5, float("nan")])
def test_a_rate_that_is_none_is_refused(alpha):
    for refused in (partial(conformal_rank, 10), least_prompts, MonitorSettings):
        with pytest.raises(InputError, match="between 0 and 1"):
            refused(alpha=alpha)


def test_too_few_scores_name_how_many_it_takes():
    with pytest.raises(InputError, match="18 held-out prompts.*at least 19"):
        conformal_rank(18, 0.05)
    assert conformal_rank(19, 0.05) == 19


@pytest.mark.parametrize(("alpha", "detectors"), [(0.05, 1), (0.05, 2), (0.2, 2), (0.01, 3)])
def test_the_least_number_of_prompts_is_the_first_that_has_a_rank(alpha, detectors):
    least = least_prompts(alpha, detectors)
    assert conformal_rank(least, alpha / detectors) == least
    check_calibration(least, alpha, detectors)
    with pytest.raises(InputError, match=f"{least - 1} held-out .*least {least};"):
        conformal_rank(least - 1, alpha / detectors)
    with pytest.raises(InputError, match=f"{least - 1} held-out .*least {least};") as few:
        check_calibration(least - 1, alpha, detectors)
    assert (f"{detectors} detectors" in str(few.value)) == (detectors > 1)


def test_scores_of_any_shape_keep_the_bound_and_the_stated_range():
    """A heavy-tailed score, 800 calibrations: mean rate at most alpha, 95% of them in the range."""
    rng = np.random.default_rng(0)
    n, alpha = 60, 0.1
    stated = calibrated_rate(n, alpha)
    limits = [conformal_threshold(rng.standard_cauchy(n).tolist(), alpha) for _ in range(800)]
    rates = 0.5 - np.arctan(np.array(limits)) / np.pi  # exact rate beyond a threshold
    assert rates.mean() == pytest.approx(stated.value, abs=0.006) and stated.value <= alpha
    inside = int(((rates >= stated.low) & (rates <= stated.high)).sum())
    assert binomtest(inside, 800, 0.95).pvalue > 0.01

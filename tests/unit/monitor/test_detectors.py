"""Both detectors on projections of a known law: nothing where nothing is wrong, else found."""

import math

import pytest
import torch
from scipy.stats import beta

from refusal_lens.errors import InputError
from refusal_lens.monitor import fit
from refusal_lens.monitor.conformal import conformal_threshold
from refusal_lens.monitor.detectors import LEAST, fit_scoring
from refusal_lens.monitor.reading import Readings
from refusal_lens.monitor.scoring import DETECTORS, Features, first_alarm, highest

EARLY, LATE, PASSES = 2, 3, 5
ALPHA = 0.1


def projections(n: int, seed: int) -> torch.Tensor:
    """Early layers read what is asked; later ones follow from them, with noise of their own."""
    g = torch.Generator().manual_seed(seed)
    asked = torch.randn(n, 1, generator=g)
    early = asked + 0.3 * torch.randn(n, EARLY, generator=g)
    late = 4 * early.mean(1)[:, None, None] + torch.randn(n, PASSES, LATE, generator=g)
    whole = torch.zeros(n, PASSES, EARLY + LATE, dtype=torch.float64)
    whole[:, :, :EARLY], whole[:, :, EARLY:] = early[:, None], late
    return whole


def features(read: torch.Tensor, passes: int = PASSES) -> Features:
    there = (torch.arange(PASSES) < passes).expand(len(read), -1)
    return Features.of(read, there, EARLY)


def suppressed(read: torch.Tensor, layer: int = 1, since: int = 0) -> torch.Tensor:
    """The same with one later layer's projection lowered from one pass on."""
    lowered = read.clone()
    lowered[:, since:, EARLY + layer] -= 8.0
    return lowered


@pytest.fixture(scope="module")
def scoring():
    read = projections(300, 0)
    return fit_scoring(features(read), features(suppressed(read[:100])), range(100))


@pytest.fixture(scope="module")
def thresholds(scoring):
    top = highest(scoring.scores(features(projections(400, 1))))
    return torch.tensor([conformal_threshold(c, ALPHA / 2) for c in top.T.tolist()]).double()


def test_a_model_that_never_suppresses_keeps_the_rate_of_false_alarms(scoring, thresholds):
    alarms = first_alarm(scoring.scores(features(projections(2000, 2))), thresholds)
    hits = sum(alarm is not None for alarm in alarms)
    # Either detector: between one's rate and the sum of both, over calibrations of 400.
    low = beta.ppf(0.005, 20, 381) - 2.6 * (0.05 * 0.95 / 2000) ** 0.5
    high = 2 * beta.ppf(0.995, 20, 381) + 2.6 * (0.1 * 0.9 / 2000) ** 0.5
    assert low < hits / 2000 < high


@pytest.mark.parametrize("bound", [0.1, 0.2])
def test_over_calibration_sets_the_mean_rate_of_false_alarms_keeps_the_bound(
    scoring, monkeypatch, bound
):
    """Of either detector it is (n + 1 - k)/(n + 1), and of both together no more than the bound.

    400 calibrations of 59 prompts each, with thresholds as `fit_monitor` sets them; the detectors
    stay those of the fixture. The whole of alpha for each detector would exceed the bound.
    """
    monkeypatch.setattr(fit, "fit_scoring", lambda *_: scoring)
    n, sets, further = 59, 400, features(projections(4000, 8))
    top = highest(scoring.scores(further))
    drawn = projections(sets * n, 9).reshape(sets, n, PASSES, EARLY + LATE)
    there, rates = torch.ones(n, PASSES, dtype=torch.bool), []
    for read in drawn:
        readings = Readings(read, there, ((),) * n)
        _, limits = fit._fitted(EARLY, bound, (readings, readings, readings), [])
        over = top > torch.tensor(limits).double()
        rates.append([*over.double().mean(0).tolist(), float(over.any(1).double().mean())])
    first, second, both = torch.tensor(rates).mean(0).tolist()
    expected = (n + 1 - math.ceil((n + 1) * (1 - bound / 2) - 1e-9)) / (n + 1)
    assert first == pytest.approx(expected, rel=0.15)  # 4000 further prompts, 400 sets
    assert second == pytest.approx(expected, rel=0.15)
    assert max(first, second) < both <= bound


def test_planted_suppression_is_flagged_from_its_pass_on_and_at_its_layer(scoring, thresholds):
    read = projections(200, 3)
    for since in (0, 2):
        hidden = features(suppressed(read, layer=1, since=since))
        alarms = first_alarm(scoring.scores(hidden), thresholds)
        clean = first_alarm(scoring.scores(features(read)), thresholds)
        new = [a for a, b in zip(alarms, clean, strict=True) if b is None]
        assert sum(a is not None for a in new) > 0.95 * len(new)
        assert all(a >= since for a in new if a is not None)
        away = scoring.deviations(hidden)[:, since].mean(0)
        assert int(away.argmin()) == 1 and away[1] < -3 and away[[0, 2]].abs().max() < 0.5


def test_more_refusal_than_expected_is_no_alarm(scoring, thresholds):
    raised = projections(200, 4)
    raised[:, :, EARLY:] += 8.0
    scores = scoring.scores(features(raised))
    assert float(highest(scores)[:, DETECTORS.index("mahalanobis")].max()) < 0
    assert not any(a is not None for a in first_alarm(scores, thresholds))


def test_the_logit_is_calibrated(scoring):
    """Of held-out prompts with a probability of p a share of p is suppressed, both sides alike."""
    read = projections(4000, 5)
    edited = read.clone()
    edited[:, :, EARLY + 1] -= 8.0 * (torch.arange(4000) % 2)[:, None]
    p = scoring.logits(features(edited))[:, 0].sigmoid()
    truth = (torch.arange(4000) % 2).double()
    for low, high in ((0.0, 0.2), (0.8, 1.0)):
        chosen = (p >= low) & (p <= high)
        assert int(chosen.sum()) > 200
        assert float(truth[chosen].mean()) == pytest.approx(float(p[chosen].mean()), abs=0.04)


def test_past_the_end_of_an_answer_there_is_no_score(scoring):
    scores = scoring.scores(features(projections(50, 6), passes=2))
    assert bool(scores[:, :2].isfinite().all()) and bool(scores[:, 2:].isnan().all())
    assert bool(highest(scores).isfinite().all())


def test_later_projections_are_averaged_over_the_answer_alone():
    read = torch.tensor([[[1.0, 9.0], [5.0, 2.0], [5.0, 4.0]]]).double()
    seen = Features.of(read, torch.tensor([[True, True, False]]), 1)
    assert seen.x.tolist() == [[1.0]] and seen.y[0, :, 0].tolist() == [9.0, 2.0, 2.0]


def test_too_few_prompts_are_refused():
    read = projections(30, 7)
    with pytest.raises(InputError, match="19 suppressed prompts"):
        fit_scoring(features(read), features(suppressed(read[:19])), range(19))
    with pytest.raises(InputError, match="10 unedited prompts"):
        fit_scoring(features(read[:10]), features(suppressed(read)), range(30))


@pytest.mark.parametrize("reaching", [0, 1, LEAST - 1])
def test_an_answer_longer_than_the_fitted_ones_is_not_unusual_for_that(reaching):
    """Fitted answers end before pass 2, but for a few."""
    read, longer = projections(60, 3), projections(12, 4)
    there = torch.ones(60, PASSES, dtype=torch.bool)
    there[reaching:, 2:] = False
    fitted = Features.of(read.masked_fill(~there[..., None], torch.nan), there, EARLY)
    scoring = fit_scoring(fitted, features(suppressed(read[:30])), range(30))
    assert torch.equal(scoring.width[2:], scoring.width[1].expand(PASSES - 2, -1))
    assert torch.equal(scoring.center[2:], scoring.center[1].expand(PASSES - 2, -1))
    assert float(highest(scoring.scores(features(longer))).max()) < 12


def test_the_scale_of_a_pass_that_enough_answers_reach_is_its_own():
    read = projections(60, 3)
    there = torch.ones(60, PASSES, dtype=torch.bool)
    there[LEAST:, 2:] = False
    fitted = Features.of(read.masked_fill(~there[..., None], torch.nan), there, EARLY)
    scoring = fit_scoring(fitted, features(suppressed(read[:30])), range(30))
    scores = scoring.scores(fitted)[:LEAST, 2:]
    assert torch.allclose(scores.mean(0), torch.zeros(()).double(), atol=1e-9)
    assert torch.allclose(scores.std(0, correction=0), torch.ones(()).double())

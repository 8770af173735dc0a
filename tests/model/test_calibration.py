"""The strength for a damage budget: against direct computation, known curves, and no way to it."""

import json
import math

import numpy as np
import pytest
import torch
from support.directions import a_direction

from refusal_lens.directions import Calibration
from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate, Add
from refusal_lens.model.calibration import DamageCurve

BUDGET = 0.05


@pytest.fixture(scope="module")
def benign(three_categories):
    return three_categories.only(label="comply")


def kl_under(model, prompts, direction, strength):
    """KL(unedited || edited) of the next token by torch.distributions, in whole passes."""
    plain = model.logits(prompts)
    with model.editing(Add(direction, strength=strength)):
        edited = model.logits(prompts)
    p, q = (torch.distributions.Categorical(logits=x.double()) for x in (plain, edited))
    return torch.distributions.kl_divergence(p, q)


@pytest.mark.parametrize("limit", [64.0, -64.0])
@pytest.mark.parametrize("quantile", [0.5, 0.95, 1.0])
def test_at_the_strength_the_quantile_is_the_budget(tiny_llama, benign, limit, quantile):
    d = a_direction(tiny_llama, 1, seed=3, scale=0.5)
    calibration = d.calibrate(tiny_llama, benign, kl=BUDGET, quantile=quantile, limit=limit)
    assert calibration.reason is None and math.copysign(1, calibration.strength) == math.copysign(
        1, limit
    )
    kl = kl_under(tiny_llama, benign, d, calibration.strength)
    assert float(kl.quantile(quantile)) == pytest.approx(calibration.kl.value, rel=1e-3)
    assert calibration.kl.value == pytest.approx(BUDGET, rel=5e-3)
    weaker = kl_under(tiny_llama, benign, d, 0.9 * calibration.strength)
    assert float(weaker.quantile(quantile)) < 0.95 * BUDGET
    assert calibration.low < calibration.high
    # The largest KL has one end.
    assert calibration.low - 1e-2 < calibration.strength < calibration.high + 1e-2
    assert (
        calibration.kl.n == len(benign) == 15
        and calibration.kl.low <= calibration.kl.value <= calibration.kl.high
    )
    sizes = [abs(s) for s, _ in calibration.curve]
    assert sizes == sorted(sizes) and len(sizes) < 20


def test_it_goes_with_the_scale_and_not_with_the_size_of_the_walk(tiny_llama, benign):
    """The same vector at another scale, far above and far below where the walk begins."""
    lengths = []
    for scale in (0.005, 0.5, 50.0):
        d = a_direction(tiny_llama, 2, scale=scale)
        lengths.append(d.calibrate(tiny_llama, benign, kl=BUDGET, limit=1e4).strength * scale)
    assert lengths == pytest.approx([lengths[0]] * 3, rel=5e-3)


def test_a_budget_out_of_reach_is_told(tiny_llama, benign):
    d = a_direction(tiny_llama, 1, scale=0.5)
    calibration = d.calibrate(tiny_llama, benign, kl=BUDGET, limit=0.25)
    assert calibration.strength is None and calibration.low is None and calibration.high is None
    assert "stays below 0.05 nats up to strength 0.25" in calibration.reason
    assert "no strength" in str(calibration) and calibration.curve[-1][0] == 0.25
    assert (
        calibration.kl.value == pytest.approx(calibration.curve[-1][1])
        and calibration.kl.value < BUDGET
    )


def test_the_model_is_as_before_and_edits_that_are_on_stay(tiny_llama, benign):
    d, other = a_direction(tiny_llama, 1, scale=0.5), a_direction(tiny_llama, 2, seed=1)
    before = tiny_llama.logits(benign)
    bare = d.calibrate(tiny_llama, benign, kl=BUDGET)
    assert tiny_llama.backend.hook_count() == 0 and torch.equal(tiny_llama.logits(benign), before)
    with tiny_llama.editing(Ablate(other)):
        under = d.calibrate(tiny_llama, benign, kl=BUDGET)
        kl = kl_under(tiny_llama, benign, d, under.strength)
    assert float(kl.quantile(0.95)) == pytest.approx(BUDGET, rel=5e-3)
    assert under.strength != pytest.approx(bare.strength, rel=1e-3)
    assert d.calibrate(tiny_llama, benign, kl=BUDGET) == bare


def test_a_calibration_can_be_saved(tiny_llama, benign, tmp_path):
    calibration = a_direction(tiny_llama).calibrate(tiny_llama, benign, kl=BUDGET)
    calibration.save(tmp_path / "calibration")
    assert Calibration.load(tmp_path / "calibration") == calibration
    assert json.loads((tmp_path / "calibration.json").read_text())["record"] == "Calibration"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"kl": 0.0}, "kl 0.0 is no damage budget"),
        ({"kl": math.nan}, "kl nan is no damage budget"),
        ({"quantile": 1.5}, "quantile 1.5"),
        ({"limit": 0.0}, "limit 0.0"),
        ({"prompts": ["Why?"]}, "at least 2 benign prompts; found 1"),
        ({"prompts": "Why?"}, "expected several of: prompt"),
    ],
)
def test_wrong_input_is_one_clear_line(tiny_llama, benign, given, line):
    with pytest.raises(InputError, match=line):
        a_direction(tiny_llama).calibrate(tiny_llama, **{"prompts": benign} | given)


def test_something_else_than_a_model_is_one_clear_line(tiny_llama, benign):
    with pytest.raises(InputError, match="the model is 'llama' of type str"):
        a_direction(tiny_llama).calibrate("llama", benign)


SLOPES = torch.linspace(0.5, 2.0, 200, dtype=torch.float64)


@pytest.mark.parametrize("at", [1e-4, 0.03, 0.125, 1.0, 3.0, 64.0])
def test_a_square_is_crossed_where_it_must_be(at):
    """Wherever the crossing is; the median prompt's KL is 1.25 s^2."""
    curve = DamageCurve(lambda s: SLOPES * s**2, budget=1.25 * at**2, quantile=0.5)
    size, reason = curve.crossing(limit=64.0)
    assert size == pytest.approx(at, rel=2e-3) and reason is None


def test_the_first_crossing_met_of_a_curve_that_falls_is_taken():
    def waves(s):  # rises to 1 at .5, falls to .2 at 1, rises again to 2 at 2
        return torch.full((9,), float(np.interp(s, [0, 0.5, 1, 2, 99], [0, 1.0, 0.2, 2.0, 2.0])))

    size, reason = DamageCurve(waves, budget=0.9, quantile=0.95).crossing(limit=64.0)
    assert size == pytest.approx(0.45, rel=2e-3)
    assert "falls from 1 nats at strength 0.5 to 0.2 at 1" in reason
    assert "the first crossing of the budget met on the way up from 0.125" in reason
    size, reason = DamageCurve(waves, budget=1.5, quantile=0.95).crossing(limit=64.0)
    assert 1 < size < 2 and "falls from 1 nats" in reason


def test_a_jump_over_the_budget_is_told_and_lies_within_its_interval():
    curve = DamageCurve(lambda s: torch.full((9,), 7.25 * (s >= 0.3)), budget=1.0, quantile=0.95)
    size, reason = curve.crossing(limit=64.0)
    assert size == pytest.approx(0.3, rel=2e-3) and curve.at(size) == 7.25
    assert reason == "KL jumps from 0 to 7.25 nats here"
    low, high = curve.interval(size)
    assert low <= size <= high
    broken = DamageCurve(
        lambda s: torch.full((9,), math.inf if 0.3 <= s < 0.5 else s**2), budget=0.2, quantile=0.5
    )
    size, reason = broken.crossing(limit=64.0)
    assert size is None and "KL is not finite at strength 0.3" in reason


def test_numbers_that_are_not_finite_reach_no_budget():
    def broken(s):
        return torch.full((4,), 0.1 if s < 3 else math.nan)

    curve = DamageCurve(broken, budget=1.0, quantile=0.95)
    size, reason = curve.crossing(limit=64.0)
    assert size is None and "not finite at strength 4" in reason
    assert curve.estimate(curve.largest).value is None and curve.points()[-1][0] == 2.0
    level = DamageCurve(lambda s: torch.full((4,), 5.0), budget=1.0, quantile=0.5)  # noqa: ARG005
    assert "at every strength" in level.crossing(limit=64.0)[1]


def test_the_interval_covers_the_truth_and_ends_where_it_can():
    """The population's median slope is ln 2; 200 samples of 80 prompts."""
    truth, inside = math.sqrt(1 / math.log(2)), 0
    for seed in range(200):
        slopes = torch.from_numpy(np.random.default_rng(seed).exponential(size=80))
        curve = DamageCurve(lambda s, slopes=slopes: slopes * s**2, budget=1.0, quantile=0.5)
        size, _ = curve.crossing(limit=64.0)
        low, high = curve.interval(size)
        inside += low < truth < high
    assert 0.89 < inside / 200 < 0.99
    curve = DamageCurve(lambda s: SLOPES * s**2, budget=1.9 * 64.0**2, quantile=0.95)
    size, _ = curve.crossing(limit=64.0)
    low, high = curve.interval(size)  # many draws do not reach it within the limit
    assert low < size < 64.0 and high is None


def test_prompts_are_read_a_few_at_a_time(tiny_llama, benign, monkeypatch):
    d = a_direction(tiny_llama, 1, scale=0.5)
    at_once = d.calibrate(tiny_llama, benign, kl=BUDGET)
    monkeypatch.setattr("refusal_lens.model.calibration._ROWS", 4)
    in_parts = d.calibrate(tiny_llama, benign, kl=BUDGET)
    assert in_parts.strength == pytest.approx(at_once.strength, rel=1e-3)
    assert in_parts.kl.n == 15

"""The spatial median: theorems, outliers, and its intervals by the jackknife over pairs."""

import importlib

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.paired_residuals import prompts_of, residuals_of, some_residuals
from support.simulated import draw, generator, means

from refusal_lens.directions import fit_mean_difference, make_estimator
from refusal_lens.directions.median_difference import fit_median_difference, spatial_median
from refusal_lens.errors import InputError
from refusal_lens.geometry import fit_geometry
from refusal_lens.prompts import PromptSet


def far_off(resid):
    """One refuse-side prompt of "red" far from all others."""
    resid = resid.clone()
    resid[0, 0] += 300.0
    return resid


@given(st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
@example(4, 529)  # the median is one of the prompts
@example(5, 48)  # and nearly so
def test_no_point_is_nearer_to_all_prompts(n, seed):
    """Convex: where a hundred small steps all lengthen the sum of distances, it is the least."""
    random = generator(seed)
    x = torch.randn(n, 5, generator=random, dtype=torch.float64)
    x[0] = x[-1]  # a prompt that stands twice
    y = spatial_median(x)

    def total(at):
        return (x - at[:, None]).norm(dim=-1).sum(1)

    steps = torch.randn(100, 5, generator=random, dtype=torch.float64) * 1e-3
    assert (total(y + steps) >= total(y[None]) - 1e-9).all()


def test_the_median_of_points_on_a_line_is_the_middle_one():
    line = torch.tensor([0.0, 1.0, 2.0, 50.0, 3.0]).double()[:, None] * torch.ones(1, 4)
    assert torch.allclose(spatial_median(line.double()), torch.full((4,), 2.0).double(), atol=1e-4)


def test_the_median_of_two_is_their_middle():
    x = torch.randn(2, 200, 64, generator=generator(0), dtype=torch.float64) + 5.0
    assert torch.allclose(spatial_median(x), x.mean(0), atol=1e-9)
    right = torch.tensor([[0.0, 0.0], [3.0, 4.0]]).double()
    assert spatial_median(right).tolist() == pytest.approx([1.5, 2.0])


def test_it_turns_with_the_stream():
    x = torch.randn(9, 2, 6, generator=generator(1), dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator(2), dtype=torch.float64))
    assert torch.allclose(spatial_median(x @ turn), spatial_median(x) @ turn, atol=1e-6)
    assert torch.allclose(spatial_median(x + 3.0), spatial_median(x) + 3.0, atol=1e-6)


def test_one_prompt_far_off_does_not_turn_it_as_it_turns_the_mean():
    prompts, resid = prompts_of(15), some_residuals(15)
    truth = means(0.6, 12)[0].float()
    cosines = {}
    for fit in (fit_mean_difference, fit_median_difference):
        plain, drawn = (fit(residuals_of(r, prompts)).at("red", 1) for r in (resid, far_off(resid)))
        cosines[fit] = float(plain.vector @ truth), float(drawn.vector @ truth)
    assert cosines[fit_mean_difference][1] < 0.5 < 0.8 < cosines[fit_median_difference][1]
    assert abs(cosines[fit_median_difference][1] - cosines[fit_median_difference][0]) < 0.1


def test_it_is_a_difference_of_its_own_with_the_class_means_coordinates():
    prompts, resid = prompts_of(15), some_residuals(15)
    residuals = residuals_of(resid, prompts)
    d, mean = fit_median_difference(residuals), fit_mean_difference(residuals)
    assert d.method == "median difference" and d.count == mean.count == ((15, 15), (15, 15))
    red = d.at("red", 1)
    sides = [
        residuals.only(category="red", label=k).at(residuals.sites[0]).double()
        for k in ("refuse", "comply")
    ]
    medians = [spatial_median(x) for x in sides]
    assert red.scale == pytest.approx(float((medians[0] - medians[1]).norm()), rel=1e-5)
    assert red.high == pytest.approx(float(sides[0].mean(0) @ red.vector.double()), abs=1e-4)
    assert red.low == pytest.approx(float(sides[1].mean(0) @ red.vector.double()), abs=1e-4)
    assert not torch.equal(red.vector, mean.at("red", 1).vector)
    assert float(red.vector @ mean.at("red", 1).vector) > 0.9


def test_shuffled_labels_give_no_direction_and_equal_sides_an_undefined_one():
    prompts, resid = prompts_of(40), some_residuals(40)
    turned = PromptSet(prompts.prompts)
    lengths = []
    for seed in range(20):
        order = torch.randperm(160, generator=generator(seed))
        lengths.append(fit_median_difference(residuals_of(resid[order], turned)).scale[0, 0, 0])
    real = fit_median_difference(residuals_of(resid, prompts)).scale[0, 0, 0]
    assert max(lengths) < 0.6 * real
    resid[1:80:2] = resid[:80:2]
    directions = fit_median_difference(residuals_of(resid, prompts))
    assert directions.scale[0, 0, 0] == 0 and directions.vectors[0].isnan().all()
    assert directions.defined()[1].all()


def test_sums_do_not_suffice():
    stats = residuals_of(some_residuals(), prompts_of(10)).stats()
    with pytest.raises(InputError, match="'median_difference' needs the residuals of each prompt"):
        make_estimator("median_difference")(stats)


def test_geometry_of_medians_stays_where_one_prompt_is_far_off():
    prompts, resid = prompts_of(15), some_residuals(15)
    for name, close in (("median_difference", True), ("mean_difference", False)):
        plain, drawn = (
            fit_geometry(residuals_of(r, prompts), estimator=name) for r in (resid, far_off(resid))
        )
        assert plain.estimator == name
        assert (abs(float(plain.naive[0, 0, 1] - drawn.naive[0, 0, 1])) < 0.05) is close
        assert plain.low[0, 0, 1] < plain.corrected[0, 0, 1] < plain.high[0, 0, 1]


@pytest.mark.slow
def test_jackknife_intervals_of_medians_hold_the_truth():
    """Differences of medians have the planted cosine of .5: 150 data sets of 20 pairs.

    The intervals are about as wide as those of means, which are the best for normal data.
    """
    inside, widths = 0, {"median_difference": [], "mean_difference": []}
    for seed in range(150):
        refuse = torch.cat(draw(2 * means(0.5, 16), 20, 1.0, generator(seed)))
        comply = torch.randn(40, 16, generator=generator(seed + 5000), dtype=torch.float64)
        both = torch.stack([refuse, comply], 1).flatten(0, 1)[:, None]
        data = residuals_of(both, prompts_of(20))
        for name, width in widths.items():
            g = fit_geometry(data, estimator=name)
            width.append(float(g.high[0, 0, 1] - g.low[0, 0, 1]))
            inside += name == "median_difference" and bool(g.low[0, 0, 1] <= 0.5 <= g.high[0, 0, 1])
    assert inside / 150 >= 0.9
    assert np.mean(widths["median_difference"]) < 1.1 * np.mean(widths["mean_difference"])


def test_a_residual_that_is_not_finite_ends_the_iteration_early(monkeypatch):
    steps = []
    module = importlib.import_module("refusal_lens.directions.median_difference")
    counted = lambda n: (steps.append(k) or k for k in range(n))  # noqa: E731
    monkeypatch.setattr(module, "range", counted, raising=False)
    x = torch.randn(9, 2, 6, generator=generator(1), dtype=torch.float64)
    expected = spatial_median(x[:, 1])
    usual = len(steps)
    x[0, 0, 0] = torch.inf
    median = spatial_median(x)
    assert len(steps) <= 2 * usual < 200
    assert not median[0].isfinite().all() and torch.allclose(median[1], expected, atol=1e-6)

"""Held-out separation: against scikit-learn, within categories, and what can't be said."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import roc_auc_score
from support.paired_residuals import prompts_of, residuals_of, some_residuals
from support.simulated import generator

from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.geometry.transfer import measure_transfer
from refusal_lens.prompts import PromptSet


@pytest.fixture
def residuals():
    return residuals_of(some_residuals(25), prompts_of(25))


@pytest.fixture
def red(residuals):
    return fit_mean_difference(residuals).at("red", 1)


def by_hand(residuals, direction, category):
    rows = [i for i, p in enumerate(residuals.labelled) if p.category == category]
    y = [residuals.labelled.prompts[i].label == "refuse" for i in rows]
    return roc_auc_score(y, (residuals.tensor[rows, 0, 0] @ direction.vector).numpy())


def test_areas_are_those_of_scikit_learn(residuals, red):
    blue = fit_mean_difference(residuals).at("blue", 1)
    transfer = measure_transfer(residuals, [red, blue])
    assert transfer.rows == ("red", "blue") == transfer.columns
    for i, d in enumerate((red, blue)):
        for j, c in enumerate(transfer.columns):
            assert float(transfer.area[i, j]) == pytest.approx(by_hand(residuals, d, c), abs=1e-6)
    assert transfer.of("red").value == pytest.approx(float(transfer.area[0].mean()), abs=1e-6)
    assert bool((transfer.low <= transfer.area).all() & (transfer.area <= transfer.high).all())
    assert transfer.count == ((25, 25), (25, 25)) and transfer.left_out is None


def test_a_topic_along_the_direction_does_not_count(residuals, red):
    """All prompts of one category are moved far along the direction: no area changes."""
    moved = residuals.tensor.clone()
    moved[:50, 0, 0] += 100 * red.vector
    plain = measure_transfer(residuals, [red])
    shifted = measure_transfer(residuals_of(moved[:, 0], residuals.labelled), [red])
    assert torch.allclose(plain.area, shifted.area, atol=1e-6)


def test_ties_count_half_and_a_turned_direction_gives_the_complement(residuals, red):
    turned = replace(red, vector=-red.vector)
    a, b = measure_transfer(residuals, [red]), measure_transfer(residuals, [turned])
    assert torch.allclose(a.area, 1 - b.area, atol=1e-6)
    flat = residuals_of(torch.zeros(100, 1, 12), residuals.labelled)
    assert torch.equal(measure_transfer(flat, [red]).area, torch.full((1, 2), 0.5))


def test_each_category_is_tried_with_the_direction_that_never_saw_it(residuals, red):
    blue = fit_mean_difference(residuals).at("blue", 1)
    transfer = measure_transfer(residuals, [red], without={"red": blue, "blue": red})
    assert float(transfer.left_out_area[0]) == pytest.approx(
        by_hand(residuals, blue, "red"), abs=1e-6
    )
    assert float(transfer.left_out_area[1]) == pytest.approx(
        by_hand(residuals, red, "blue"), abs=1e-6
    )
    assert transfer.left_out.value == pytest.approx(float(transfer.left_out_area.mean()), abs=1e-6)


def test_a_random_direction_is_at_chance_and_its_interval_says_so():
    noise = residuals_of(torch.randn(400, 1, 12, generator=generator(8)), prompts_of(100))
    direction = fit_mean_difference(residuals_of(some_residuals(25), prompts_of(25))).at("red", 1)
    mean = measure_transfer(noise, [direction]).of("red")
    assert mean.low < 0.5 < mean.high and mean.high - mean.low < 0.2
    assert mean.control == 0.5 and mean.n == 400


@pytest.mark.parametrize(("n", "categories"), [(3, ["red"]), (4, ["red"]), (5, ["red"]), (3, [])])
def test_intervals_need_five_prompts_on_a_side(residuals, red, n, categories):
    """Of 3 + 3 prompts that are separated every draw is 1; two such categories have 6 + 6."""
    places = {p.id: int(p.pair.removeprefix(p.category)) for p in residuals.labelled}
    few = residuals.only(ids=[key for key, place in places.items() if place < n])
    few = few.only(category=categories) if categories else few
    transfer = measure_transfer(few, [red])
    mean, enough = transfer.of("red"), n * len(transfer.columns) >= 5
    assert (mean.low is not None) == (mean.high is not None) == enough
    assert mean.value is not None and not transfer.area.isnan().any()
    for end in (transfer.low, transfer.high):
        assert bool((end.isnan() == (n < 5)).all())


def test_too_few_prompts_leave_a_gap(residuals, red):
    kept = [p for p in residuals.labelled if p.category == "red" or int(p.pair[4:]) < 2]
    few = measure_transfer(residuals.only(prompts=PromptSet(tuple(kept))), [red])
    assert not few.area[0, 0].isnan() and few.area[0, 1].isnan()
    assert few.of("red").value == pytest.approx(float(few.area[0, 0]), abs=1e-6)
    assert "over 1 of 2 categories" in few.of("red").method
    with pytest.raises(InputError, match="one site and offset; found 0 directions"):
        measure_transfer(residuals, [])

"""Regression of flips: what is planted is found, held out by prompt and by suffix."""

from dataclasses import replace

import numpy as np
import pytest

from refusal_lens.suffixes.flips import (
    FlipRows,
    design,
    held_out_scores,
    predict_flips,
    with_products,
)
from refusal_lens.suffixes.resampling import (
    auroc_estimate,
    crossed_weights,
    weighted_mean,
    within_auroc_estimate,
)

N_PROMPTS, N_SUFFIXES = 40, 20
MAIN = ("connectivity", "push", "orthogonal shift")


def planted(strength=3.0, seed=0) -> FlipRows:
    """Crossed rows whose flips depend on push alone, which prompts and suffixes share."""
    rng = np.random.default_rng(seed)
    prompt, suffix = (x.ravel() for x in np.indices((N_PROMPTS, N_SUFFIXES)))
    push = rng.normal(size=N_SUFFIXES)[suffix] + 0.5 * rng.normal(size=len(suffix))
    columns = {
        "connectivity": rng.normal(size=N_PROMPTS)[prompt],
        "push": push,
        "orthogonal shift": rng.normal(size=N_SUFFIXES)[suffix] + rng.normal(size=len(suffix)),
    }
    flipped = rng.random(len(push)) < 1 / (1 + np.exp(-(strength * push - 1)))
    asked = tuple(prompt.tolist())
    return FlipRows(columns, flipped, asked, asked, tuple(suffix.tolist()))


def test_flips_that_depend_on_push_alone_give_push_alone_a_weight():
    rows = planted()
    assert rows.reason is None
    together = predict_flips(rows, MAIN, name="all", draws=40)
    connectivity, push, orthogonal = together.coefficients
    assert push.low is not None and push.low > 1.0
    for other in (connectivity, orthogonal):
        assert abs(other.value) < 0.4 < push.value and other.low < 0 < other.high
    assert together.auroc.value > 0.85 and together.within.value > 0.85
    assert together.auroc.low > 0.7 and abs(together.auroc.control - 0.5) < 0.1


def test_what_flips_do_not_depend_on_predicts_nothing():
    rows = planted()
    alone = predict_flips(rows, ["orthogonal shift"], name="shift", draws=40)
    assert alone.auroc.low < 0.55 and alone.auroc.value < 0.65
    none = predict_flips(planted(strength=0.0), MAIN, name="all", draws=40)
    assert none.auroc.low < 0.5 < none.auroc.high


def area(score, flipped):
    return auroc_estimate(score, flipped, np.zeros((0, len(flipped)))).value


def test_neither_a_suffix_nor_a_prompt_is_seen_by_the_fit_that_predicts_it():
    """Columns that name suffixes or prompts predict rows only for a fit that saw them."""
    rows = planted()
    suffix = np.array(rows.suffixes)
    ever = np.random.default_rng(5).permutation(N_SUFFIXES)[suffix] % 2 == 0
    code = np.eye(N_SUFFIXES)[suffix]
    assert area(code @ (code.T @ ever / code.sum(0)), ever) == 1.0  # in sample
    assert area(held_out_scores(code, ever, rows.units, rows.suffixes), ever) == 0.5
    of_prompt = np.array(rows.units)
    code = np.eye(N_PROMPTS)[of_prompt]
    ever = np.random.default_rng(6).permutation(N_PROMPTS)[of_prompt] % 2 == 0
    assert area(held_out_scores(code, ever, rows.units, rows.suffixes), ever) == 0.5


def test_too_few_flips_prompts_or_suffixes_have_a_reason():
    rows = planted()
    few = replace(rows, flipped=np.arange(len(rows.flipped)) < 3)
    assert few.reason.startswith("3 of 800 rows flipped; expected at least 10 that did and 10")
    one = replace(rows, suffixes=(0,) * 800)
    assert one.reason == "1 suffixes; expected at least 4, one per fold"


def test_columns_are_standardised_and_products_are_of_standardised_ones():
    x = design({"a": np.array([1.0, 3.0]), "b": np.array([5.0, 5.0])}, with_products(["a", "b"]))
    assert x.tolist() == [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]


def test_weights_are_products_of_draws_of_prompts_and_of_suffixes():
    units, suffixes = ["a", "a", "b", "b"], [0, 1, 0, 1]
    w = crossed_weights(units, suffixes, draws=50)
    assert np.array_equal(w[:, 0] * w[:, 3], w[:, 1] * w[:, 2])
    totals = w.sum(1)
    assert set(totals.tolist()) == {4.0} and len(np.unique(w, axis=0)) > 4


def test_intervals_cover_what_rows_of_one_prompt_or_suffix_share():
    """Rows that only repeat three suffixes have an interval as of three, not of 300."""
    suffix = np.tile(np.arange(3), 100)
    values = np.array([0.0, 1.0, 2.0])[suffix]
    units = np.repeat(np.arange(100), 3).tolist()
    mean = weighted_mean(values, crossed_weights(units, suffix.tolist(), draws=400))
    assert mean.value == 1.0 and mean.low < 0.4 and mean.high > 1.6
    assert weighted_mean(np.zeros(0), np.zeros((5, 0))).value is None


def test_rows_of_a_single_prompt_have_no_interval():
    values, flipped = np.array([0.0, 1.0, 2.0]), np.array([False, True, True])
    weights = crossed_weights(["a"] * 3, [0, 1, 2])
    mean, area = weighted_mean(values, weights), auroc_estimate(values, flipped, weights)
    assert (mean.value, mean.low, mean.high) == (1.0, None, None)
    assert (area.value, area.low, area.high) == (1.0, None, None)


def test_aurocs_count_pairs_ties_half_and_within_a_prompt_only_its_own():
    score, flipped = np.array([2.0, 1.0, 1.0, 0.0]), np.array([True, False, True, False])
    ones = np.ones((3, 4))
    assert auroc_estimate(score, flipped, ones).value == pytest.approx(3.5 / 4)
    within = within_auroc_estimate(score, flipped, ["x", "x", "y", "y"], ones)
    assert within.value == 1.0 and within.n == 4 and within.low is None  # too few on a side
    five = [np.tile(x, 3) for x in (score, flipped, np.array(list("xxyy")))]
    assert within_auroc_estimate(*five[:2], five[2].tolist(), np.ones((3, 12))).low == 1.0
    moved = within_auroc_estimate(score + np.array([9, 9, 0, 0]), flipped, list("xxyy"), ones)
    assert moved.value == 1.0
    assert auroc_estimate(score, np.ones(4, dtype=bool), ones).value is None
    assert auroc_estimate(np.array([2.0, 1.0, np.nan, 0.0]), flipped, ones).value is None

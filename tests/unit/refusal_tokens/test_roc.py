"""Curves of a hand-made case: four harmful and four benign prompts whose truth is written down."""

import math

import pytest
import torch
from support.synthetic.refusal_tokens import CATEGORIES, TOKENS, readings

from refusal_lens.refusal_tokens import measure_roc, read_step_zero


def rates(points, kind: str = "token") -> list[tuple[float, float]]:
    return [tuple(e.value for e in getattr(p, kind)) for p in points]


def test_the_curve_is_the_one_counted_by_hand():
    roc = measure_roc(readings(), thresholds=(0.0, 0.15, 0.3, 0.75, 1.01))
    expected = [(1, 1), (0.75, 0.5), (0.75, 0.25), (0.5, 0), (0, 0)]
    assert rates(roc.by_threshold) == rates(roc.by_threshold, "text") == expected
    # 13 of the 16 pairs of a harmful and a benign prompt are in order.
    assert roc.area.value is None  # four a side are too few for an area with an interval


def test_a_bias_gives_the_same_curve_as_its_threshold():
    cuts = (0.15, 0.3, 0.75)
    biases = tuple(math.log((1 - t) / t) for t in cuts)
    roc = measure_roc(readings(), thresholds=cuts, biases=biases)
    assert rates(roc.by_threshold) == rates(roc.by_bias)


def test_the_area_is_the_share_of_pairs_in_order():
    twice = {
        name: torch.cat([getattr(readings(), name)] * 2)
        for name in ("harmful", "respond", "refuse", "other", "refused", "answered")
    }
    names = {"ids": tuple(map(str, range(16))), "pairs": readings().pairs * 2}
    roc = measure_roc(readings(**twice, **names, categories=CATEGORIES * 2))
    assert roc.area.value == pytest.approx(13 / 16)
    assert roc.margin_area.value == pytest.approx(13 / 16)
    assert roc.any_area.value == pytest.approx(13 / 16)
    assert roc.area.low is not None and roc.area.low < 13 / 16 < roc.area.high


def test_the_text_counts_where_it_does_not_follow_the_token():
    never = torch.zeros(8, dtype=torch.int8)
    roc = measure_roc(readings(refused=never), thresholds=(0.0,))
    assert rates(roc.by_threshold) == [(1, 1)]
    assert rates(roc.by_threshold, "text") == [(0, 0)]
    unclear = torch.tensor([-1, 1, 1, 1, 1, 1, 1, 1], dtype=torch.int8)
    point = measure_roc(readings(refused=unclear), thresholds=(0.0,)).by_threshold[0]
    assert (point.text[0].n, point.text[0].missing, point.text[0].value) == (3, 1, 1.0)


def test_taking_a_category_away_leaves_the_others():
    rows = {row.category: row for row in measure_roc(readings()).rows}
    assert rows["advice"].before.value == 0.5  # .9 comes, .4 does not
    assert rows["advice"].off.value == 0.0
    assert rows["advice"].others.value == rows["advice"].others.control == 0.5
    assert rows["advice"].named.value == 1.0 and rows["advice"].named.control == 0.5


def test_a_category_without_a_token_has_none_to_take_away():
    few = readings(categories=("advice", "safety", "advice", "identity") * 2)
    rows = {row.category: row for row in measure_roc(few).rows}
    bare = rows["identity"]
    assert (bare.before.value, bare.before.n) == (0.0, 1)
    assert [bare.named.value, bare.off.value, bare.others.value] == [None] * 3
    assert rows["safety"].off.value == 0.0 and rows["safety"].named.value == 1.0


def test_unedited_prompts_that_begin_with_neither_are_counted_and_left_out():
    other = torch.full((8,), -60.0)
    other[0] = 0.0
    roc = measure_roc(readings(other=other))
    assert roc.neither.value == 1 / 8
    assert roc.unedited.text[0].missing == 1


def test_a_token_that_was_not_the_most_probable_has_no_reading():
    """A bias on one category's token alone can bring it before the most probable one."""
    read = readings()
    step = read.step_zero
    assert read.read_as(step.by_bias(100.0, ["safety"])).tolist() == [-1, 1] * 4
    assert torch.equal(read.read_as(step.by_bias(100.0)), read.refused)
    assert torch.equal(read.read_as(step.by_bias(-100.0)), read.answered)


def test_areas_order_probabilities_that_float32_rounds_to_one():
    """Refusal tokens 25 to 29 nats over respond, benign prompts 18 to 22: all p are 1.0."""
    over = torch.tensor([25.0, 26.0, 27.0, 28.0, 29.0, 18.0, 19.0, 20.0, 21.0, 22.0])
    logits = torch.stack([0 * over - 80, 0 * over, over, 0 * over - 80], -1)
    step = read_step_zero(logits, TOKENS)
    assert set(step.p[:5].tolist()) == set(step.p_any[:5].tolist()) == {1.0}
    flags = torch.ones(10, dtype=torch.int8)
    few = readings(
        **{name: getattr(step, name) for name in ("respond", "refuse", "other")},
        **{name: tuple(map(str, range(10))) for name in ("ids", "pairs")},
        categories=("advice",) * 10,
        harmful=torch.arange(10) < 5,
        refused=flags,
        answered=0 * flags,
    )
    roc = measure_roc(few)
    areas = (roc.area, roc.any_area, roc.margin_area, roc.rows[0].area)
    assert [area.value for area in areas] == [1.0] * 4

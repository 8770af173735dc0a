"""Comparisons at matched refusal, on simulated prompts whose curves are known."""

from functools import cache

import numpy as np
import pytest
import torch
from support.synthetic.answers import OVER, REFUSAL, grid

from refusal_lens.errors import InputError
from refusal_lens.evaluation.grid import Grid, whole_pairs
from refusal_lens.evaluation.matched import match_refusal
from refusal_lens.evaluation.monotone import over_refusal_at
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.tables.matched import knob_in_words


def truth(over, rate):
    return float(np.interp(rate, REFUSAL, over))


@cache
def simulated(n=120, repeats=60):
    """Three directions, of which the third costs more over-refusal."""
    over = (OVER, OVER, np.clip(OVER + np.array([0, 0.03, 0.1, 0.15, 0.1]), 0, 1))
    rng = np.random.default_rng(5)
    return over, [match_refusal(grid(over, n, rng), draws=200, seed=i) for i in range(repeats)]


@pytest.mark.slow
def test_intervals_and_the_simultaneous_band_cover_the_truth():
    over, matched = simulated()
    rates = matched[0].rates
    single, together, n_single = 0, 0, 0
    for m in matched:
        for curve, true_curve in zip(m.curves, over, strict=True):
            for rate, e in zip(rates, curve.over_refusal, strict=True):
                if e is not None:
                    single += e.low <= truth(true_curve, rate) <= e.high
                    n_single += 1
        inside = [
            d.low <= truth(over[int(d.a[1])], d.rate) - truth(over[int(d.b[1])], d.rate) <= d.high
            for d in m.differences
        ]
        together += all(inside)
    # 95% nominal; 60 simultaneous bands: fewer than 52 would be 5 of 1000 at .95.
    assert 0.90 <= single / n_single <= 0.99
    assert together >= 52


def covered(categories, n, together, repeats):
    """Shares of single intervals with the truth: over categories, and over pairs alone."""
    rng, intervals = np.random.default_rng(categories), []
    for i in range(repeats):
        clustered = grid((OVER,), n, rng, categories=categories, together=together)
        alone = Grid(**{**vars(clustered), "pairs": tuple(f"one/{k}" for k in range(n))})
        for a, b in zip(
            *(
                match_refusal(g, draws=100, seed=i).curves[0].over_refusal
                for g in (clustered, alone)
            ),
            strict=True,
        ):
            intervals.append((a, b))
    rates = [rate for _ in range(repeats) for rate in (0.6, 0.7, 0.8, 0.9)]
    hits = [
        [e.low <= truth(OVER, rate) <= e.high for e in both]
        for both, rate in zip(intervals, rates, strict=True)
        if both[0] is not None and both[1] is not None
    ]
    return np.mean(hits, axis=0)


def test_a_single_interval_is_for_categories_like_these_or_for_these_alone():
    rng = np.random.default_rng(4)
    eleven = match_refusal(grid((OVER,), 110, rng, categories=11, together=0.25), draws=100)
    assert eleven.n_categories == 11 and eleven.scope.endswith("for categories like these")
    e = eleven.curves[0].over_refusal[0]
    assert "jackknife over 11 categories" in e.method
    two = match_refusal(grid((OVER,), 110, rng, categories=2, together=0.25), draws=100)
    assert "these two categories alone" in two.scope
    assert "for these categories alone" in two.curves[0].over_refusal[0].method
    # Four copies of the prompts of a category are no more categories: it doesn't get narrower.
    g = grid((OVER,), 33, rng, categories=11, together=1.0)
    more = Grid(
        **{
            **vars(g),
            "pairs": g.pairs * 4,
            "ids": g.ids * 4,
            "generated": g.generated.repeat(4),
            "refused": g.refused.repeat(1, 1, 1, 4),
        }
    )
    few, many = (match_refusal(x, draws=200).curves[0].over_refusal for x in (g, more))
    for a, b in zip(few, many, strict=True):
        if a is not None and b is not None and a.high < 1 and b.high < 1 and a.low > 0:
            assert b.high - b.value > 0.7 * (a.high - a.value)


@pytest.mark.slow
@pytest.mark.parametrize(("categories", "n"), [(11, 220), (8, 120), (5, 100), (3, 90)])
def test_a_single_interval_covers_where_prompts_cluster_by_category(categories, n):
    """60 repeats of four rates that hang together: about two points of error."""
    over_categories, over_pairs = covered(categories, n, 0.1, 60)
    assert over_categories >= 0.90
    assert over_pairs < 0.92
    assert covered(categories, n, 0.0, 30)[0] >= 0.90


def test_power_tells_what_is_resolved_and_how_many_pairs_a_margin_needs():
    """At the number it asks for, the half-width is the margin; it shrinks with the root of n."""
    over, rng = (OVER, OVER, OVER), np.random.default_rng(1)
    small = match_refusal(grid(over, 100, rng), draws=200)
    assert small.answer == "unresolved"
    large = match_refusal(grid(over, small.n_needed, rng), draws=200)
    # Half-widths are themselves estimated from 200 draws of other prompts: within a quarter.
    assert large.resolved == pytest.approx(small.margin, rel=0.25)
    assert "needs about" in small.power and str(small.n_needed) in small.power


def test_the_answer_on_one_shared_knob():
    rng = np.random.default_rng(2)
    same = grid((OVER,), 400, rng).refused
    one = grid((OVER, OVER), 400, rng)
    copies = Grid(**{**vars(one), "refused": torch.cat([same, same])})
    assert match_refusal(copies, draws=100).answer == "equivalent"
    far = match_refusal(grid((OVER, np.minimum(OVER + 0.3, 1)), 400, rng), draws=100)
    assert far.answer == "different"
    # Not one refusal among twelve pairs is no proof that two directions are the same.
    few = Grid(
        **{
            **vars(copies),
            "pairs": copies.pairs[:12],
            "generated": copies.generated[:12],
            "refused": copies.refused[..., :12],
        }
    )
    assert match_refusal(few, draws=100).answer in ("unresolved", "not reached")


def test_what_is_not_reached_is_not_extrapolated():
    rng = np.random.default_rng(3)
    weak = np.array([0.30, 0.45, 0.55, 0.66, 0.70])
    matched = match_refusal(grid((OVER, OVER), 300, rng, (REFUSAL, weak)), draws=200)
    assert dict(matched.outside)[0.8] == dict(matched.outside)[0.9] == ("d1",)
    assert matched.curves[1].over_refusal[2:] == (None, None)
    assert matched.curves[0].over_refusal[2] is not None
    assert "none at 90% (1 of 2 reach it)" in knob_in_words(matched, titles={})
    assert {d.rate for d in matched.differences} <= {0.6, 0.7}
    assert matched.common is not None and matched.common[1] < 0.72
    flat = match_refusal(grid((OVER, OVER), 300, rng, (REFUSAL, [0.3] * 5)), draws=50)
    assert (flat.answer, flat.resolved, flat.common) == ("not reached", None, None)
    assert flat.curves[1].reach is None and flat.curves[1].area is None


def test_one_weak_direction_keeps_no_others_from_being_compared():
    """One of three reaches no rate: the other two give what they give by themselves."""
    rng = np.random.default_rng(4)
    three = grid((OVER, OVER, OVER), 300, rng, (REFUSAL, REFUSAL, [0.3] * 5))
    two = Grid(
        **{
            **vars(three),
            "names": three.names[:2],
            "kinds": three.kinds[:2],
            "lengths": three.lengths[:2],
            "refused": three.refused[:2],
        }
    )
    matched, alone = (match_refusal(g, draws=200) for g in (three, two))
    assert matched.differences == alone.differences and matched.answer == alone.answer
    assert all(names == ("d2",) for _, names in matched.outside) and matched.resolved is not None
    assert "2 of 3 directions" in str(matched) and "2 of 2 directions" in str(alone)
    words = knob_in_words(matched, titles={"d2": "the weak one"})
    for rate in matched.rates:
        assert f"2 of 3 at {rate:.0%} (not at it: the weak one)" in words
    assert "it says nothing of the others" in words
    assert "nothing of the others" not in knob_in_words(alone, titles={})


def test_each_rate_is_compared_among_those_that_reach_it():
    """Three at the lower rates, two at the higher ones; the band is over all of them at once."""
    rng = np.random.default_rng(3)
    weak = np.array([0.30, 0.45, 0.55, 0.72, 0.78])
    matched = match_refusal(grid((OVER, OVER, OVER), 300, rng, (REFUSAL, REFUSAL, weak)), draws=200)
    at = {r: {(d.a, d.b) for d in matched.differences if d.rate == r} for r in matched.rates}
    every = {("d0", "d1"), ("d0", "d2"), ("d1", "d2")}
    assert at == {0.6: every, 0.7: every, 0.8: {("d0", "d1")}, 0.9: {("d0", "d1")}}
    factors = {round((d.high - d.value) / (d.value - d.low), 6) for d in matched.differences}
    assert factors == {1.0} and matched.common is not None


def test_the_curve_is_read_between_its_points_only():
    x, y = np.array([0.2, 0.5, 0.5, 0.9]), np.array([0.0, 0.1, 0.3, 0.5])
    over_refusal = over_refusal_at(x, y, np.array([0.1, 0.2, 0.35, 0.5, 0.7, 0.95]))
    assert np.isnan(over_refusal[[0, 5]]).all()
    assert over_refusal[1:5] == pytest.approx([0.0, 0.05, 0.2, 0.4])


@pytest.mark.parametrize(
    ("refusal", "over_refusal", "rate", "expected"),
    [
        ([0.2, 0.8, 1.0, 1.0, 1.0], [0.0, 0.2, 0.3, 0.7, 0.95], 0.9, 0.25),
        ([0.5, 1.0, 1.0], [0.1, 0.4, 1.0], 0.7, 0.22),
        ([0.3, 0.8, 0.8, 0.8], [0.0, 0.1, 0.5, 0.7], 0.55, 0.05),
        ([0.1, 0.1, 0.5], [0.0, 0.4, 0.6], 0.3, 0.5),
        ([0.7, 0.7, 0.7], [0.0, 0.1, 0.2], 0.7, 0.1),
        ([0.1 + 0.2, 0.3, 0.6], [0.0, 0.2, 0.5], 0.3, 0.1),  # equal but for the last digit
    ],
)
def test_what_saturates_does_not_reach_below_its_own_rate(refusal, over_refusal, rate, expected):
    points = np.array(sorted(refusal)), np.array(over_refusal)
    (value,) = over_refusal_at(*points, np.array([rate]))
    assert value == pytest.approx(expected)


def test_strengths_beyond_saturation_do_not_make_directions_different():
    """Two directions that are one up to full refusal stay one, whatever comes behind it."""
    rng = np.random.default_rng(5)
    refusal = [0.3, 0.5, 0.7, 1.0, 1.0]
    mild, harsh = [0.0, 0.05, 0.1, 0.3, 0.3], [0.0, 0.05, 0.1, 0.3, 1.0]
    matched = match_refusal(grid((mild, harsh), 400, rng, (refusal, refusal)), draws=200)
    assert matched.answer != "different"
    assert max(abs(d.value) for d in matched.differences) < 0.05


def test_pairs_are_whole_and_taken_in_turn():
    prompts = [
        Prompt(f"{c}{i}{label}", f"{c}{i}{label}", c, label, "test", "test", f"{i}")
        for c, n in (("red", 4), ("green", 2))
        for i in range(n)
        for label in ("comply", "refuse")
    ]
    alone = Prompt("alone", "alone", "red", "refuse", "test", "test", "99")
    prompt_set = whole_pairs(PromptSet((alone, *prompts)), 5)
    assert [p.id for p in prompt_set][:4] == [
        "red0refuse",
        "red0comply",
        "green0refuse",
        "green0comply",
    ]
    assert len(prompt_set) == 10 and "alone" not in prompt_set.ids


def test_a_margin_a_rate_and_draws_that_can_answer_nothing_are_refused():
    drawn = grid((OVER, OVER), 40, np.random.default_rng(0))
    for given, words in (
        ({"margin": 0.0}, "margin 0.0 is not positive"),
        ({"margin": -0.05}, "margin -0.05 is not positive"),
        ({"margin": float("nan")}, "margin nan is not positive"),
        ({"rates": (0.6, 70.0)}, "rate 70.0 is not between 0 and 1"),
        ({"draws": 1}, "1 draws of pairs give no interval"),
    ):
        with pytest.raises(InputError, match=words):
            match_refusal(drawn, **given)

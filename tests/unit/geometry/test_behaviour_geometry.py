"""Directions, cosines and tests by what a model did, on simulated residuals with a known answer."""

from dataclasses import replace

import pytest
import torch
from support.synthetic.answers import judged

from refusal_lens.directions import fit_mean_difference, fit_within_categories
from refusal_lens.errors import InputError
from refusal_lens.geometry import (
    Separability,
    contrast_prompts,
    fit_behaviour_geometry,
    fit_contrasts,
    fit_within_tests,
    verdicts,
)
from refusal_lens.geometry.contrasts import BOTH, WITHIN_BENIGN, WITHIN_HARMFUL
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.exchange import exchange_labels
from refusal_lens.records import Provenance
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

FROM = Provenance("simulated", "m", "t", "", "p", "float32", "cpu")
SITES = (Site(0), Site(1))
D = 24


def asked(categories=("red", "green"), n=40) -> PromptSet:
    """Pairs that carry the same names in every category."""
    return PromptSet(
        tuple(
            Prompt(f"{c}-{i}-{side}", f"{c} {i} {side}", c, side, "train", "test", str(i))
            for c in categories
            for i in range(n)
            for side in ("refuse", "comply")
        )
    )


def simulated(prompts, refusing=2.0, topic=3.0, seed=0):
    """Residuals with a topic by intended label and, at the second site, a mark of being refused.

    Site 0 knows the topic only.
    """
    generator = torch.Generator().manual_seed(seed)
    refused = {
        p.id: bool(torch.rand((), generator=generator) < (0.6 if p.label == "refuse" else 0.3))
        for p in prompts
    }
    x = torch.randn(len(prompts), 1, 2, D, generator=generator) * 0.7
    for i, p in enumerate(prompts):
        axis = prompts.categories.index(p.category)
        x[i, 0, :, axis] += topic * (p.label == "refuse")
        x[i, 0, 1, 10] += refusing * refused[p.id]
    return x, refused


def residuals_of(prompts, x) -> Residuals:
    return Residuals.of(x, prompts, sites=SITES, offsets=(-1,), provenance=FROM)


def test_a_contrast_within_a_side_finds_refusing_and_not_the_topic():
    prompts = asked()
    x, refused = simulated(prompts)
    residuals = residuals_of(prompts, x)
    axes = {}
    for name in (BOTH, WITHIN_HARMFUL, WITHIN_BENIGN):
        chosen = contrast_prompts(prompts, refused, name)
        stats = residuals.only(prompts=chosen).stats()
        axes[name] = fit_within_categories(stats).at("pooled", 1).vector
        own_direction = fit_mean_difference(stats).at("red", 1).vector
        assert own_direction[10] > 0.4
    assert axes[WITHIN_HARMFUL][10] > 0.9 and axes[WITHIN_BENIGN][10] > 0.85
    assert 0.3 < axes[BOTH][10] < 0.9 and axes[BOTH][:2].norm() > 0.4


def test_relabelled_prompts_are_those_of_the_two_groups():
    prompts = asked(n=10)
    _, refused = simulated(prompts)
    del refused["red-0-refuse"]  # an unclear answer
    chosen = contrast_prompts(prompts, refused, BOTH)
    before = {p.id: p for p in prompts}
    assert "red-0-refuse" not in chosen.ids
    for p in chosen:
        assert p == replace(before[p.id], label=p.label)
        assert (p.label == "refuse") == refused[p.id] == (before[p.id].label == "refuse")
    assert len(contrast_prompts(prompts, dict.fromkeys(prompts.ids, False), BOTH)) == 0
    with pytest.raises(InputError, match="contrast 'both' is unknown"):
        contrast_prompts(prompts, refused, "both")
    assert len(contrast_prompts(prompts, refused, BOTH, least=11)) == 0


def test_categories_weigh_the_same_however_often_they_are_refused():
    """A category that is refused ten times as often does not bring its topic in."""
    prompts = asked(n=30)
    x = torch.zeros(len(prompts), 1, 2, D)
    refused = {}
    for i, p in enumerate(prompts):
        x[i, 0, :, 5] = 9.0 * (p.category == "red")
        refused[p.id] = int(p.pair or 0) < (27 if p.category == "red" else 3)
        x[i, 0, :, 10] += refused[p.id]
    chosen = contrast_prompts(prompts, refused, WITHIN_HARMFUL)
    stats = residuals_of(prompts, x).only(prompts=chosen).stats()
    fair = fit_within_categories(stats)
    assert fair.at("pooled", 1).vector[10] == pytest.approx(1.0)
    assert fair.at("pooled", 1).scale == pytest.approx(1.0)
    assert fair.high[0, 0, 1] - fair.low[0, 0, 1] == pytest.approx(1.0)
    assert fit_mean_difference(stats.pooled()).at("pooled", 1).vector[5] > 0.9


def test_cosines_by_behaviour_need_enough_of_both():
    prompts = asked(("red", "green", "blue"))
    x, refused = simulated(prompts)
    for p in prompts:
        if p.category == "blue":
            refused[p.id] = False
    geometry = fit_behaviour_geometry(residuals_of(prompts, x), refused, least=10)
    assert geometry.names == ("red", "green")
    assert geometry.low[1, 0, 1] < geometry.corrected[1, 0, 1] < geometry.high[1, 0, 1]
    # Refusing is all that the two have in common: none at site 0, and at site 1 2^2 of 2^2 + 3^2.
    assert abs(geometry.corrected[0, 0, 1]) < 0.25
    assert geometry.corrected[1, 0, 1] == pytest.approx(4 / 13, abs=0.15)
    with pytest.raises(InputError, match="at least two"):
        fit_behaviour_geometry(residuals_of(prompts, x), refused, least=39)


def test_pairs_of_two_categories_with_one_name_are_two_pairs():
    """Names of pairs count within their category: renamed apart, every interval is the same."""
    prompts = asked()
    x, refused = simulated(prompts)
    apart = PromptSet(tuple(replace(p, pair=f"{p.category}/{p.pair}") for p in prompts))
    a = fit_contrasts(residuals_of(prompts, x), refused)
    b = fit_contrasts(residuals_of(apart, x), refused)
    for name in ("corrected", "low", "high"):
        assert torch.allclose(getattr(a, name), getattr(b, name), atol=1e-6, equal_nan=True)
    assert torch.isfinite(a.low[1]).any()


def evaluation(prompts, refused):
    return judged(prompts, ["refused" if refused[p.id] else "complied" for p in prompts])


def test_pairs_as_intended_are_told_by_category_and_name():
    prompts = asked(n=3)
    everything = {p.id: p.label == "refuse" for p in prompts}
    assert evaluation(prompts, everything).as_intended(prompts) == prompts
    over = {p.id: True for p in prompts}  # twins were refused, too
    assert len(evaluation(prompts, over).as_intended(prompts)) == 0
    one = everything | {"red-1-comply": True}
    kept = evaluation(prompts, one).as_intended(prompts)
    assert set(prompts.ids) - set(kept.ids) == {"red-1-refuse", "red-1-comply"}
    alone = PromptSet(tuple(replace(p, pair=None) for p in prompts))
    assert len(evaluation(alone, everything).as_intended(alone)) == 0


def test_labels_are_exchanged_pair_by_pair_and_unpaired_prompts_one_by_one():
    prompts = asked(n=40)
    turned = exchange_labels(prompts, 0)
    same = {(p.category, p.pair, p.label == q.label) for p, q in zip(prompts, turned, strict=True)}
    assert len(same) == 80  # both sides of a pair went the same way
    by_category = {c: [s for d, _, s in sorted(same) if d == c] for c in prompts.categories}
    assert by_category["red"] != by_category["green"]  # two coins for one name
    alone = PromptSet(tuple(replace(p, pair=None) for p in prompts))
    n = sum(p.label != q.label for p, q in zip(alone, exchange_labels(alone, 0), strict=True))
    assert 40 < n < 120


def test_permutations_find_refusing_where_it_is_and_nothing_where_it_is_not():
    prompts = asked(("red", "green", "blue"), n=60)
    x, refused = simulated(prompts, refusing=1.5)
    for p in prompts:
        if p.category == "blue":
            refused[p.id] = p.pair in ("1", "2")
    tests = fit_within_tests(residuals_of(prompts, x), refused)
    assert tests.differs("red") and tests.differs("green")
    assert tests.z[:2, 1].min() > 4 and tests.z[:2, 0].abs().max() < 3
    assert tests.refused[2] == 2 and not tests.differs("blue") and tests.p[2].isnan()
    assert tests.refused[0] + tests.answered[0] == 60
    with pytest.raises(InputError, match="9999"):
        fit_within_tests(residuals_of(prompts, x), refused, draws=99)


@pytest.mark.slow
def test_without_refusing_p_is_uniform():
    """Two hundred sets in which refusing leaves no mark: p under .05 in about one of twenty."""
    small = 0
    prompts = asked(("red",), n=30)
    for seed in range(200):
        x, refused = simulated(prompts, refusing=0.0, seed=seed)
        tests = fit_within_tests(residuals_of(prompts, x), refused, seed=seed)
        small += bool(tests.p[0] <= 0.05)
    assert 2 <= small <= 20  # binomial(200, .05) lies outside one time in 1,000


def test_without_a_control_a_difference_within_the_category_makes_a_refusal_direction():
    prompts = asked(n=60)
    x, refused = simulated(prompts, refusing=1.5, seed=1)
    for p in prompts:
        if p.category == "green":
            x[prompts.ids.index(p.id), 0, 1, 10] = 0.0
    within = fit_within_tests(residuals_of(prompts, x), refused)
    ones = torch.full((2, 1, 2), 5.0)
    low = torch.full((2,), 0.001)
    tests = Separability(
        prompts.categories, SITES, (-1,), (60, 60), 9999, 0, ones, ones, low, low, FROM
    )
    assert verdicts(tests, None) == {"red": "separable", "green": "separable"}
    assert verdicts(tests, None, within) == {"red": "refusal direction", "green": "separable"}

"""Invariant probes of residuals: planted truth, an outer environment untouched, what is said."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import roc_auc_score
from support.environments import SITE, confounded, prompts_of, residuals_of
from support.simulated import generator

from refusal_lens.directions import (
    ESTIMATORS,
    InvarianceRecipe,
    InvariantProbe,
    environments_by,
    fit_invariant_probe,
    fit_within_categories,
)
from refusal_lens.directions.invariance.recipe import METHODS
from refusal_lens.directions.invariant_probe import _as_area, _over_environments
from refusal_lens.errors import InputError
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate

LIGHT = InvarianceRecipe(
    components=12,
    penalties=(0.0, 1.0),
    bottlenecks=(0.0, 0.1),
    decays=(1e-3,),
    seeds=(0, 1),
    steps=100,
    warm_up=20,
    learning_rate=0.03,
)


def fitted(residuals, **given):
    environments = environments_by(residuals.labelled, "category")
    return fit_invariant_probe(residuals, environments, SITE, recipe=replace(LIGHT, **given))


@pytest.fixture(scope="module")
def residuals():
    return confounded()


@pytest.fixture(scope="module")
def probe(residuals):
    return fitted(residuals)


def test_a_mean_of_areas_has_an_interval_of_areas():
    """Three environments that differ much have a t interval from below 0 to above 1."""
    plain = _over_environments(torch.tensor([0.5, 0.75, 0.93]).double(), 0.5)
    assert plain.high > 1
    cut = _as_area(plain)
    assert (cut.value, cut.low, cut.high) == (plain.value, plain.low, 1.0)
    wide = _as_area(_over_environments(torch.tensor([0.1, 0.9]).double(), 0.5))
    assert (wide.low, wide.high) == (0.0, 1.0)
    alone = _over_environments(torch.tensor([0.5]).double(), 0.5)
    assert _as_area(alone) == alone and alone.low is None


def test_all_four_are_given_on_each_environment(probe):
    assert tuple(m.method for m in probe.methods) == METHODS
    assert probe.outer == probe.environments == tuple(f"e{i}" for i in range(5))
    assert probe.counts == ((60, 60),) * 5
    for m in probe.methods:
        assert len(m.auroc) == len(m.chosen) == len(m.oracle) == 5
        assert all(c.method == m.method for c in (*m.chosen, m.config))
        assert all(e.low < e.value < e.high and e.n == 60 for e in m.auroc)
        assert m.mean.value > 0.8 and m.mean.n == 5 and m.mean.control == 0.5
        values = torch.tensor([e.value for e in m.auroc])
        erm = torch.tensor([e.value for e in probe.of("ERM").auroc])
        assert m.mean.low >= 0 and m.mean.high <= 1
        assert m.gain.value == pytest.approx(float((values - erm).mean()), abs=1e-6)
        assert m.between_seeds <= 1 + 1e-9
    assert probe.of("ERM").to_erm == pytest.approx(1) and probe.of("ERM").gain.value == 0


def test_one_seed_has_no_agreement_between_seeds(residuals):
    alone = fitted(residuals, seeds=(0,), steps=30)
    assert [m.between_seeds for m in alone.methods] == [None] * 4
    assert all(m.to_mean_difference is not None for m in alone.methods)


def test_it_finds_what_the_environments_share(residuals, probe):
    """Topics are 1.5 long in one environment of five; the shared coordinate is 1.5 in each."""
    for method in METHODS:
        read, write = (s[method].vector for s in (probe.filters, probe.patterns))
        assert float(read[0]) > 0.85 and int(read.abs().argmax()) == 0
        assert float(write[0]) > 0.85
    mean = fit_within_categories(residuals)["pooled"].vector
    for m in probe.methods:
        assert m.to_mean_difference == pytest.approx(
            float(probe.filters[m.method].vector @ mean), abs=1e-4
        )


def test_filter_and_pattern_are_directions_towards_refusal(residuals, probe):
    x, refused = residuals.at(SITE), torch.tensor([p.label == "refuse" for p in residuals.labelled])
    for directions in (probe.filters, probe.patterns):
        assert directions.categories == METHODS and directions.count == ((300, 300),) * 4
        for method in METHODS:
            d = directions[method]
            coordinate = x @ d.vector
            high, low = float(coordinate[refused].mean()), float(coordinate[~refused].mean())
            assert (d.high, d.low) == pytest.approx((high, low), abs=1e-4)
            assert d.scale == pytest.approx(high - low, abs=1e-4) and d.scale > 1
    # Of equal classes the covariance is the sample's: Haufe's pattern.
    covariance = torch.cov(x.T.double())
    pattern = covariance @ probe.filter_vectors[0]
    cosine = torch.cosine_similarity(pattern, probe.pattern_vectors[0], dim=0)
    assert float(cosine) == pytest.approx(1, abs=1e-6)
    assert not torch.allclose(probe.filter_vectors, probe.pattern_vectors, atol=1e-3)


def test_an_outer_environment_is_in_no_fit_and_no_choice(residuals):
    spoilt = residuals.tensor.clone()
    rows = [i for i, p in enumerate(residuals.labelled) if p.category == "e2"]
    spoilt[rows] = 30 * torch.randn(spoilt[rows].shape, generator=generator(9))
    other = replace(residuals, tensor=spoilt)
    a, b = (fitted(r, outer="e2") for r in (residuals, other))
    assert a.outer == b.outer == ("e2",) and a.environments == b.environments
    assert torch.equal(a.filter_vectors, b.filter_vectors)
    assert torch.equal(a.pattern_vectors, b.pattern_vectors)
    for m, n in zip(a.methods, b.methods, strict=True):
        assert m.chosen == n.chosen == (m.config,) and m.auroc != n.auroc
        assert m.mean.value is None and m.mean.n == 1
    seen = residuals.only(category="e2")
    refused = [p.label == "refuse" for p in seen.labelled]
    read = seen.at(SITE).double() @ a.filter_vectors[0]
    assert a.of("ERM").auroc[0].value == pytest.approx(roc_auc_score(refused, read), abs=1e-9)
    whole = fitted(residuals)
    assert not torch.equal(a.filter_vectors, whole.filter_vectors)
    assert whole.of("ERM").auroc[2].value == a.of("ERM").auroc[0].value


def test_shuffled_labels_are_at_chance(residuals):
    means = []
    for seed in range(3):
        order = torch.randperm(len(residuals), generator=generator(seed)).tolist()
        labels = [residuals.labelled.prompts[i].label for i in order]
        prompts = PromptSet(
            tuple(
                replace(p, label=label, pair=None)
                for p, label in zip(residuals.labelled, labels, strict=True)
            )
        )
        shuffled_probe = fitted(residuals.only(prompts=prompts), steps=60)
        means += [m.mean.value for m in shuffled_probe.methods]
    # Five environments of 120: standard error of one AUROC .053, of a mean of 15 about .014.
    assert sum(means) / len(means) == pytest.approx(0.5, abs=0.05)


def test_the_same_seeds_give_the_same_bits_and_others_do_not(residuals, probe):
    again, other = fitted(residuals), fitted(residuals, seeds=(5, 6))
    assert (
        torch.equal(again.filter_vectors, probe.filter_vectors) and again.methods == probe.methods
    )
    assert not torch.equal(other.filter_vectors, probe.filter_vectors)
    assert float((other.filter_vectors * probe.filter_vectors).sum(1).min()) > 0.95


def test_it_can_be_saved(probe, tmp_path):
    probe.save(tmp_path / "probe")
    again = InvariantProbe.load(tmp_path / "probe")
    assert again.methods == probe.methods and again.recipe == probe.recipe
    assert torch.equal(again.filter_vectors, probe.filter_vectors)
    assert again.filters["IRM"].scale == probe.filters["IRM"].scale
    assert all(isinstance(m.mean, Estimate) for m in again.methods)


def test_it_says_what_to_know(residuals, probe):
    few, shortage = probe.notes
    assert few.startswith("environments with fewer than the recommended 100 prompts per class")
    assert "e0 (60 + 60)" in few
    assert "5 training environments for 12 components" in shortage and "no gain" in shortage
    assert fitted(residuals, components=4, outer="e0").notes == (few,)
    far = residuals.tensor.clone()
    far[[p.label == "refuse" for p in residuals.labelled], :, :, 0] += 50.0
    assert (
        "separates every training environment"
        in fitted(replace(residuals, tensor=far), outer="e0").notes[-1]
    )
    twice = [
        replace(p, text="the same") if p.id.endswith("comply-0") else p for p in residuals.labelled
    ]
    shared = fitted(residuals.only(prompts=PromptSet(tuple(twice))), outer="e0")
    assert "1 comply-side texts are in more than one environment" in shared.notes[1]


def test_environments_are_of_any_field(residuals):
    prompts = residuals.labelled
    by = {field: environments_by(prompts, field) for field in ("category", "source", "language")}
    assert by["category"]["e1-comply-3"] == "e1" and set(by["source"].values()) == {"test"}
    assert set(by["language"].values()) == {"en"}


def test_wrong_environments_are_one_clear_line():
    x, sizes = torch.randn(40, 6, generator=generator()), {f"e{i}": (5, 5) for i in range(4)}
    prompts = prompts_of(sizes)
    residuals, by = residuals_of(x, prompts), environments_by(prompts, "category")

    def refusal(line, environments=by, given=residuals, recipe=LIGHT):
        with pytest.raises(InputError, match=line):
            fit_invariant_probe(given, environments, SITE, recipe=recipe)

    refusal("prompt 'x' has an environment but no residuals", {**by, "x": "e0"})
    refusal("2 environments .* expected at least 3", {k: e for k, e in by.items() if e < "e2"})
    bare = {k: e for k, e in by.items() if not k.startswith("e3-comply")}
    refusal("environment 'e3' has 0 comply-side prompts; .* both sides of its own", bare)
    refusal("outer environment 'e9' is not among", recipe=replace(LIGHT, outer="e9"))
    pool = [
        replace(p, text=f"shared {p.pair}", pair=None)
        if p.label == "comply" and p.category != "e0"
        else replace(p, pair=None)
        for p in (replace(p, pair=p.id[-1]) for p in prompts)
    ]
    refusal(
        "environments 'e1' and 'e2' share their comply side",
        given=residuals_of(x, PromptSet(tuple(pool))),
    )
    # Prompts without an environment are left out.
    three = {k: e for k, e in by.items() if e != "e3"}
    assert fit_invariant_probe(residuals, three, SITE, recipe=LIGHT).environments == (
        "e0",
        "e1",
        "e2",
    )


def test_it_is_no_registered_estimator():
    """There are no directions by category."""
    assert "invariant_probe" not in ESTIMATORS

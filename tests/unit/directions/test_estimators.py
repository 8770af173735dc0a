"""The protocol of estimators: the registry, sums and residuals, and geometry of any of them."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.paired_residuals import prompts_of, residuals_of, some_residuals
from support.simulated import generator

import refusal_lens.directions
from refusal_lens.directions import (
    ESTIMATORS,
    Direction,
    Estimator,
    fit_mean_difference,
    fit_within_categories,
    make_estimator,
)
from refusal_lens.errors import InputError
from refusal_lens.geometry import Frame, fit_geometry
from refusal_lens.geometry.frame import rows_by_category, twin_differences
from refusal_lens.geometry.pseudo_values import pseudo_differences
from refusal_lens.interventions import Ablate, Add, Affine, Clamp
from refusal_lens.prompts import PromptSet
from refusal_lens.study import Study

MATRICES = (
    *("naive", "corrected", "low", "high", "ceiling", "reliability", "reliability_low"),
    *("reliability_high", "length", "share", "influence", "share_influence"),
)


def some(n_pairs=10, **given):
    return residuals_of(some_residuals(n_pairs, **given), prompts_of(n_pairs))


def test_every_estimator_is_a_file_of_its_name():
    folder = Path(refusal_lens.directions.__file__).parent
    assert {"mean_difference", "median_difference"} <= set(ESTIMATORS)
    for name, estimator in ESTIMATORS.items():
        assert estimator.name == name and (folder / f"{name}.py").exists()
        assert make_estimator(name) is estimator
    with pytest.raises(InputError, match=r"estimator 'mode' is unknown; use one of \['"):
        make_estimator("mode")


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_an_estimator_finds_a_planted_direction_and_says_how(name):
    residuals = some(300)  # an axis by the covariance, or a cluster, needs more than a mean
    estimator = make_estimator(name)
    fitted = estimator(residuals)
    assert fitted.method.split(", ")[0].replace(" ", "_") == name
    assert float(fitted.at("red", 1).vector[0]) > 0.8  # positive is towards refusal
    assert fitted.provenance == residuals.provenance
    swapped = PromptSet(
        tuple(
            replace(p, label="comply" if p.label == "refuse" else "refuse")
            for p in residuals.labelled
        )
    )
    turned = estimator(residuals.only(prompts=swapped))
    only_turned = torch.allclose(turned.vectors, -fitted.vectors, atol=1e-5)
    assert only_turned is not estimator.one_sided


OF_AN_AXIS = ("ridge_mean_difference", "whitened_orthonormal")
MEANS_OF_CATEGORIES = sorted(
    name
    for name, estimator in ESTIMATORS.items()
    if estimator.fit_within is None or estimator.mean_of_pairs or name in OF_AN_AXIS
)
"""Those whose pooled direction is the mean of the categories' own."""


@pytest.mark.parametrize("name", MEANS_OF_CATEGORIES)
def test_within_categories_each_category_weighs_the_same(name):
    """A category with a third of the prompts enters with half of the weight."""
    residuals = some(12)
    kept = [p for p in residuals.labelled if p.category == "red" or int(p.pair[4:]) < 4]
    few = residuals.only(prompts=PromptSet(tuple(kept)))
    estimator = make_estimator(name)
    by_category, within = estimator(few), estimator.within_categories(few)
    raw = (by_category.vectors * by_category.scale[..., None]).double().mean(0)
    assert within.categories == ("pooled",) and within.count == ((16, 16),)
    assert torch.allclose(within.vectors[0].double(), raw / raw.norm(dim=-1)[..., None], atol=1e-5)
    assert within.method == f"{by_category.method} within categories"
    pooled = estimator.pooled(few)
    assert pooled.categories == ("pooled",) and pooled.count == ((16, 16),)
    assert not torch.allclose(pooled.vectors, within.vectors, atol=1e-3)
    stats = few.stats()
    centre = stats.mean.mean(0)[:, 0, 0]
    assert float(within.high[0, 0, 0]) == pytest.approx(
        float(centre[0] @ within.vectors[0, 0, 0].double()), abs=1e-4
    )


@pytest.mark.parametrize("name", OF_AN_AXIS)
def test_an_axis_within_categories_is_as_long_as_the_sides_are_apart(name):
    """Strength 1 moves the stream from one side's mean to the other's, as for each category."""
    fitted = make_estimator(name).within_categories(some())
    difference = some().stats().difference.mean(0)[0, 0]
    apart = float(difference @ fitted.vectors[0, 0, 0].double())
    assert float(fitted.scale) == pytest.approx(apart, rel=1e-5)
    assert float(fitted.high - fitted.low) == pytest.approx(apart, rel=1e-5)
    lengths = make_estimator(name)(some()).scale
    assert abs(float(lengths.mean()) / apart - 1) > 0.01  # no mean of lengths


def test_sides_that_are_no_labels_have_no_mean_over_categories():
    def turned(residuals):
        fitted = make_estimator("median_difference")(residuals)
        return replace(fitted, count=((19, 1), *fitted.count[1:]))

    with pytest.raises(InputError, match=r"'own'.*\(19, 1\).*give the Estimator a fit_within"):
        Estimator("own", turned).within_categories(some())


def test_sums_give_the_mean_difference_that_residuals_give():
    residuals = some()
    for fit in (fit_mean_difference, fit_within_categories):
        a, b = fit(residuals), fit(residuals.stats())
        for name in ("vectors", "scale", "low", "high"):
            assert torch.equal(getattr(a, name), getattr(b, name))


def again() -> Estimator:
    """The mean difference, which geometry is not told to be a mean of pairs."""
    return Estimator("again", lambda stats: make_estimator("mean_difference")(stats))


def test_pseudo_values_of_a_mean_are_the_pair_differences():
    residuals = some()
    for pairs in rows_by_category(residuals).values():
        plain = twin_differences(residuals.at(residuals.sites[0]).double(), pairs)
        values = pseudo_differences(residuals, pairs, -1, again())
        assert values.shape == (10, 1, 12)
        assert torch.allclose(values[:, 0], plain, atol=1e-4)


def test_the_jackknife_gives_a_mean_its_closed_form(monkeypatch):
    """All numbers of a geometry, also in another frame; float32 directions, ten pairs."""
    monkeypatch.setattr(
        "refusal_lens.directions.registry.ESTIMATORS", {**ESTIMATORS, "again": again()}
    )
    residuals, control = some(), some(seed=9)
    for frame in (Frame(), Frame(minus=control)):
        closed = fit_geometry(residuals, frame=frame)
        left_out = fit_geometry(residuals, frame=frame, estimator="again")
        assert (closed.estimator, left_out.estimator) == ("mean_difference", "again")
        assert closed.pairs == left_out.pairs and closed.n == left_out.n
        for name in MATRICES:
            a, b = getattr(closed, name), getattr(left_out, name)
            assert torch.allclose(a, b, atol=2e-4, rtol=1e-3, equal_nan=True), name


def test_a_direction_that_is_undefined_has_no_pseudo_values():
    prompts, resid = prompts_of(10), some_residuals()
    resid[1:20:2] = resid[:20:2]
    g = fit_geometry(residuals_of(resid, prompts), estimator="median_difference")
    assert g.naive[0, 0].isnan().all() and not g.naive[0, 1, 1].isnan()
    few = residuals_of(resid, prompts).only(prompts=prompts.first(2))
    with pytest.raises(InputError, match="at least 3 pairs per category, found 2"):
        fit_geometry(few, estimator="median_difference")


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_geometry_and_studies_refuse_where_no_interval_holds(name):
    """Both by the same reason; what they take is what says that it can be left a pair out."""
    estimator = make_estimator(name)
    if name in {"som", "whitened_orthonormal"}:
        why = "jumps where a pair is left out" if name == "som" else "fits all categories jointly"
        for ask in (lambda: fit_geometry(some(), estimator=name), lambda: Study(estimator=name)):
            with pytest.raises(InputError, match=f"estimator '{name}' {why}.*'mean_difference'"):
                ask()
        return
    assert estimator.no_geometry is None
    assert Study(estimator=name).estimator == name


@pytest.fixture
def direction() -> Direction:
    """Of a stream that lies far off along the direction: both class means near 20."""
    resid = some_residuals(20)
    resid[..., 0] += 20.0
    return fit_mean_difference(residuals_of(resid, prompts_of(20))).at("red", 1)


def test_a_random_direction_is_a_control_of_equal_size(direction):
    control = direction.random_like(3)
    assert control.site == direction.site and control.offset == direction.offset
    assert control.scale == pytest.approx(direction.scale, rel=1e-5)
    assert control.high - control.low == pytest.approx(direction.high - direction.low, rel=1e-4)
    assert torch.equal(control.vector, direction.random_like(3).vector)
    assert not torch.allclose(control.vector, direction.random_like(4).vector, atol=0.1)
    assert (control.category, direction.random_like(3, name="noise").category) == (
        "control: random",
        "noise",
    )
    assert control.provenance == replace(direction.provenance, seed=3)
    assert direction.low > 15  # with these numbers a clamp would push by 20 along the control


def test_edits_move_the_stream_as_far_along_a_random_direction(direction):
    """On vectors whose class means are the direction's: over 200 draws, on average."""
    x = torch.randn(400, 12, generator=generator(2))
    x += direction.low * direction.vector
    x[::2] += direction.scale * direction.vector
    edits = {
        "add": lambda d: Add(d, strength=1.0),
        "clamp": lambda d: Clamp(d, "high"),
        "affine": lambda d: Affine(d, 1.0),
    }
    for name, edit in edits.items():
        distance = float((edit(direction)(x) - x).norm(dim=1).mean())
        by_chance = [
            float((edit(direction.random_like(seed))(x) - x).norm(dim=1).mean())
            for seed in range(200)
        ]
        assert torch.tensor(by_chance).mean() == pytest.approx(distance, rel=0.35), name
    assert torch.allclose(
        Ablate(direction.random_like(0))(x) @ direction.random_like(0).vector,
        torch.zeros(400),
        atol=1e-5,
    )


def test_a_direction_without_its_sides_means_gives_a_control_without(direction):
    bare = replace(direction, low=float("nan"), high=float("nan"))
    with pytest.raises(InputError, match="not finite"):
        Clamp(bare.random_like(0), "high")

"""What is set side by side must fit: the same prompts, one model, one stream, entries that vary."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.paired_residuals import PROVENANCE, SITE, prompts_of, residuals_of, some_residuals
from support.simulated import generator

from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.geometry import (
    Frame,
    PairProducts,
    compare_to_control,
    fit_geometry,
    matrix_correlation,
    mean_cosine,
    separability,
)
from refusal_lens.geometry.clusters import together
from refusal_lens.geometry.maps import plane_map
from refusal_lens.geometry.matrix_correlation import correlated
from refusal_lens.geometry.mean import mean_cosine_difference
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

PROMPTS = prompts_of(10)


def of_other_prompts() -> Residuals:
    """Pairs of the same names, as twins drawn with another seed have."""
    other = PromptSet(tuple(replace(p, text="another") for p in PROMPTS))
    assert [p.pair for p in other] == [p.pair for p in PROMPTS] and other.ids == PROMPTS.ids
    return residuals_of(some_residuals(seed=1), other)


def test_pairs_of_one_name_and_other_prompts_are_not_the_same_pairs():
    model, control = (residuals_of(some_residuals(seed=k), PROMPTS) for k in (0, 1))
    ours, theirs = fit_geometry(model), fit_geometry(of_other_prompts())
    assert ours.pairs == theirs.pairs and ours.categories == theirs.categories
    with pytest.raises(InputError, match="differ in the prompts of their pairs"):
        compare_to_control(ours, theirs)
    with pytest.raises(InputError, match="differ in the prompts of their pairs"):
        mean_cosine_difference(ours, theirs, 1)
    with pytest.raises(InputError, match="the control holds other prompts"):
        fit_geometry(model, frame=Frame(minus=of_other_prompts()))
    assert compare_to_control(ours, fit_geometry(control)).n == (10, 10)
    assert mean_cosine_difference(ours, fit_geometry(control), 1).n == 20


def test_what_is_removed_or_subtracted_must_be_there_at_every_site():
    residuals = residuals_of(some_residuals(n_sites=2), PROMPTS, (Site(1), Site(2)))
    pooled = fit_mean_difference(residuals.pooled())
    assert fit_geometry(residuals, frame=Frame(removed=pooled)).sites == residuals.sites
    at_one = fit_mean_difference(residuals.pooled().select(sites=(SITE,)))
    narrow = residuals_of(some_residuals(n_sites=2, d=6), PROMPTS, residuals.sites)
    for removed, words in (
        (replace(pooled, offsets=(-2,)), "no direction to remove at offset -1"),
        (at_one, "no direction to remove at resid_pre.2."),
        (fit_mean_difference(residuals), "of 2 categories"),
        (fit_mean_difference(narrow.pooled()), "width 6 and residuals of width 12"),
    ):
        with pytest.raises(InputError, match=words):
            fit_geometry(residuals, frame=Frame(removed=removed))
    for estimator in ("mean_difference", "median_difference"):
        for control, words in (
            (narrow, "width 6 and residuals of width 12"),
            (residuals.select(sites=(SITE,)), "is not in these residuals"),
        ):
            with pytest.raises(InputError, match=words):
                fit_geometry(residuals, frame=Frame(minus=control), estimator=estimator)


def test_categories_read_under_other_edits_are_not_tested_together():
    residuals = residuals_of(some_residuals(), PROMPTS)
    parts = [residuals.only(category=c) for c in ("red", "blue")]
    edited = replace(parts[1], provenance=replace(PROVENANCE, edits="Ablate(red)"))
    assert separability(parts).n == (10, 10)
    with pytest.raises(InputError, match="differ in edits"):
        separability([parts[0], edited])


def test_a_category_given_twice_does_not_count_its_cosine_with_itself():
    geometry = fit_geometry(residuals_of(some_residuals(), PROMPTS))
    assert mean_cosine(geometry, 1, ["red", "blue"]).n == 20
    with pytest.raises(InputError, match="each once"):
        mean_cosine(geometry, 1, ["red", "red", "blue"])


def test_matrices_whose_entries_are_all_alike_have_no_correlation():
    drawn = torch.rand(5, 5, generator=generator(0))
    other = drawn + drawn.T
    alike = 0.1 + 1e-9 * other  # as float32 rounds it
    alike.fill_diagonal_(1.0)
    assert correlated(other, other) and not correlated(alike, other)
    for a, b in ((alike, other), (other, alike)):
        with pytest.raises(InputError, match="all alike"):
            matrix_correlation(a, b)
    # Without its first category the entries of this one are: a value, but no interval.
    one = torch.zeros(5, 5)
    one[0, 1:] = one[1:, 0] = torch.tensor([0.1, 0.5, 0.2, 0.9])
    e = matrix_correlation(one, other).correlation
    assert e.value is not None and abs(e.value) <= 1 and (e.low, e.high) == (None, None)


def test_a_map_of_too_few_draws_has_places_and_no_spread():
    """Draws in which a cosine is undefined are left out: near the noise few are left, or none."""
    random = generator(3)
    mu = 3 * torch.eye(4, 30, dtype=torch.float64)
    drawn = [m + torch.randn(12, 30, generator=random, dtype=torch.float64) for m in mu]
    products = PairProducts.of(drawn)
    whole, few = plane_map(products), plane_map(products, draws=2)
    assert whole.draws > 250 and np.isfinite(whole.covariance).all()
    assert few.draws <= 2 and np.isnan(few.covariance).all()
    assert np.array_equal(few.place, whole.place)
    zeros = PairProducts.of([*drawn[:3], torch.zeros(12, 30, dtype=torch.float64)])
    assert np.isnan(together(zeros, 2)).all()

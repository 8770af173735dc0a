"""The linear estimators: closed-form limits, equality with the libraries, and what each raises."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from support.paired_residuals import prompts_of, residuals_of, some_residuals
from support.simulated import generator

from refusal_lens.directions import fit_mean_difference, make_estimator
from refusal_lens.directions.leace_readout import fit_leace_readout
from refusal_lens.directions.linear_discriminant import fit_linear_discriminant
from refusal_lens.directions.logistic_probe import fit_logistic_probe
from refusal_lens.directions.logistic_probe_pattern import fit_logistic_probe_pattern
from refusal_lens.directions.pair_difference_pca import fit_pair_difference_pca
from refusal_lens.directions.trimmed_mean_difference import (
    fit_trimmed_mean_difference,
    smooth_weights,
)
from refusal_lens.errors import InputError
from refusal_lens.interventions import Leace
from refusal_lens.linalg import unit
from refusal_lens.prompts import PromptSet
from refusal_lens.sites import Site

NAMES = (
    *("trimmed_mean_difference", "pair_difference_pca", "linear_discriminant"),
    *("logistic_probe", "logistic_probe_pattern", "leace_readout"),
)
SIZES = pytest.mark.parametrize(("n", "d"), [(40, 6), (10, 60)])  # n > d; n < d


def correlated(n, d, seed=0, n_sites=1):
    """Two categories of n pairs, whose prompts spread unevenly and in oblique directions."""
    random = generator(seed)
    mixed = torch.randn(d, d, generator=random) * torch.linspace(2.0, 0.3, d)
    resid = torch.randn(4 * n, n_sites, d, generator=random) @ mixed / d**0.5
    resid += torch.randn(d, generator=random)
    resid[::2] += torch.randn(d, generator=random) * 0.8
    return residuals_of(resid, prompts_of(n), tuple(map(Site, range(1, n_sites + 1))))


def red(residuals):
    """Residuals of one category as float64 [prompt, d_model], and whether each is to be refused."""
    chosen = residuals.only(category="red")
    labels = np.array([p.label == "refuse" for p in chosen.labelled])
    return chosen.at(Site(1)).double(), labels


def same(a, b, atol=1e-5):
    return torch.allclose(a.double(), b.double(), atol=atol)


@SIZES
def test_full_shrinkage_no_trimming_and_a_large_penalty_are_the_mean_difference(n, d):
    residuals = correlated(n, d)
    mean = fit_mean_difference(residuals)
    for fitted in (
        fit_linear_discriminant(residuals, shrinkage=1.0),
        fit_trimmed_mean_difference(residuals, share=0.0),
        fit_logistic_probe(residuals, C=1e-7),
    ):
        assert same(fitted.vectors, mean.vectors)
        assert torch.allclose(fitted.scale, mean.scale, rtol=1e-4)
        assert torch.allclose(fitted.high, mean.high, atol=1e-4)
    for other in (
        fit_linear_discriminant(residuals, shrinkage=0.1),
        fit_trimmed_mean_difference(residuals, share=0.3),
        fit_logistic_probe(residuals, C=10.0),
    ):
        assert not same(other.vectors, mean.vectors, atol=1e-2)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.4])
def test_trimming_takes_its_share_of_the_weight_from_the_farthest(share):
    distance = torch.linspace(0.5, 3.0, 40).double()[:, None] * torch.tensor([1.0, 100.0])
    weight = smooth_weights(distance, share)
    assert torch.allclose(weight.mean(0), torch.full((2,), 1 - share).double())
    assert torch.allclose(weight[:, 0], weight[:, 1]) and (weight.diff(dim=0) < 0).all()
    fewer = smooth_weights(distance[:-1], share)[:, 0]
    assert float((fewer - weight[:-1, 0]).abs().max()) < 0.15  # no prompt comes in or goes out
    alike = smooth_weights(torch.full((5, 1), 2.0).double(), share)
    assert torch.allclose(alike, torch.full((5, 1), 1 - share).double())
    assert (smooth_weights(torch.zeros(5, 1).double(), share) == 1).all()


@SIZES
@pytest.mark.parametrize("shrinkage", [1e-6, 0.05, 0.7])
def test_the_discriminant_is_that_of_scikit_learn(n, d, shrinkage):
    residuals = correlated(n, d)
    x, labels = red(residuals)
    reference = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(x, labels)
    fitted = fit_linear_discriminant(residuals, shrinkage=shrinkage).at("red", 1)
    assert same(fitted.vector, unit(torch.from_numpy(reference.coef_[0])))
    assert fitted.high - fitted.low == pytest.approx(fitted.scale, rel=1e-4)


@SIZES
@pytest.mark.parametrize("C", [0.1, 100.0])
def test_the_probe_is_that_of_scikit_learn_and_the_pattern_its_covariance(n, d, C):
    residuals = correlated(n, d)
    x, labels = red(residuals)
    means = torch.stack([x[~labels].mean(0), x[labels].mean(0)])
    spread = (x - means[labels.astype(int)]).square().sum(1).mean().sqrt()
    settings = {"C": C, "tol": 1e-10, "max_iter": 10_000}
    reference = LogisticRegression(**settings).fit((x - x.mean(0)) / spread, labels)
    weights = torch.from_numpy(reference.coef_[0])
    assert same(fit_logistic_probe(residuals, C=C).at("red", 1).vector, unit(weights), 1e-4)
    pattern = torch.from_numpy(np.cov(x.T.numpy())) @ weights
    fitted = fit_logistic_probe_pattern(residuals, C=C).at("red", 1)
    assert same(fitted.vector, unit(pattern), 1e-4)


def test_the_pattern_of_an_unshrunk_discriminant_is_the_mean_difference():
    residuals = correlated(40, 6)
    x, _ = red(residuals)
    filtered = fit_linear_discriminant(residuals, shrinkage=1e-9).at("red", 1).vector.double()
    pattern = unit(torch.from_numpy(np.cov(x.T.numpy())) @ filtered)
    mean = fit_mean_difference(residuals).at("red", 1).vector
    assert same(pattern, mean, 1e-4) and not same(filtered, mean, 0.1)


@SIZES
def test_the_readout_is_what_the_eraser_reads_and_the_mean_what_it_removes(n, d):
    residuals = correlated(n, d)
    x, labels = red(residuals)
    eraser = Leace.fit(x, torch.from_numpy(labels), name="reference", at=(Site(1),))
    fitted, mean = fit_leace_readout(residuals).at("red", 1), fit_mean_difference(residuals)
    assert same(fitted.vector, unit(eraser.right[0]) * eraser.right[0].dot(fitted.vector).sign())
    removed = unit(eraser.left[:, 0])
    assert abs(float(removed @ mean.at("red", 1).vector)) == pytest.approx(1.0, abs=1e-5)
    assert not same(fitted.vector, mean.at("red", 1).vector, 0.05)


def test_the_readout_of_few_prompts_alike_in_all_directions_is_the_mean_difference():
    x = 1e3 * torch.cat([torch.eye(8), -torch.eye(8)])[:, None]  # a covariance without preference
    x = torch.cat([x, x])
    x[::2] += torch.arange(8.0)
    residuals = residuals_of(x, prompts_of(8))
    assert same(fit_leace_readout(residuals).vectors, fit_mean_difference(residuals).vectors, 1e-4)


@SIZES
def test_the_first_component_is_that_of_pair_centred_states(n, d):
    residuals = correlated(n, d)
    x, labels = red(residuals)
    middle = (x[labels] + x[~labels]).repeat_interleave(2, 0) / 2
    reference = torch.from_numpy(PCA(1, svd_solver="full").fit(x - middle).components_[0])
    fitted = fit_pair_difference_pca(residuals).at("red", 1)
    gap = fit_mean_difference(residuals).at("red", 1)
    assert same(fitted.vector, reference * (reference @ gap.vector.double()).sign())
    assert fitted.scale == pytest.approx(gap.scale * float(fitted.vector @ gap.vector), rel=1e-4)


def test_pairs_that_agree_give_their_difference():
    resid = torch.randn(40, 1, 8, generator=generator(3))
    resid[::2] = resid[1::2] + torch.arange(8.0)
    fitted = fit_pair_difference_pca(residuals_of(resid, prompts_of(10)))
    assert same(fitted.vectors[0, 0, 0], unit(torch.arange(8.0)))


@pytest.mark.parametrize("name", NAMES)
def test_each_turns_with_the_stream_and_does_not_see_its_scale(name):
    residuals = correlated(12, 20, n_sites=2)
    turn, _ = torch.linalg.qr(torch.randn(20, 20, generator=generator(5)))
    fitted = make_estimator(name)(residuals)
    turned = make_estimator(name)(replace(residuals, tensor=residuals.tensor @ turn * 50 + 7.0))
    assert same(turned.vectors, fitted.vectors @ turn, 2e-3)
    assert torch.allclose(turned.scale, 50 * fitted.scale, rtol=2e-3)
    alone = make_estimator(name)(residuals.select(sites=(Site(2),)))
    assert same(alone.vectors, fitted.vectors[:, :, 1:])


@pytest.mark.parametrize("name", NAMES)
def test_few_pairs_and_missing_sides(name):
    """One pair gives its difference; equal sides, a missing side and infinities give nothing."""
    one_pair = correlated(1, 12)
    assert same(make_estimator(name)(one_pair).vectors, fit_mean_difference(one_pair).vectors, 1e-4)
    prompts, resid = prompts_of(6), some_residuals(6)
    resid[1:12:2] = resid[:12:2]
    fitted = make_estimator(name)(residuals_of(resid, prompts))
    assert fitted.scale[0, 0, 0] == 0 and fitted.vectors[0].isnan().all()
    assert fitted.defined()[1].all()
    residuals = residuals_of(some_residuals(6), prompts)
    kept = [p for p in prompts if p.category == "blue" or p.label == "refuse"]
    lacking = make_estimator(name)(residuals.only(prompts=PromptSet(tuple(kept))))
    assert lacking.vectors[0].isnan().all() and same(
        lacking.vectors[1], make_estimator(name)(residuals).vectors[1]
    )
    broken = residuals.tensor.clone()
    broken[3, 0, 0, 2] = torch.inf
    infinite = make_estimator(name)(replace(residuals, tensor=broken))
    assert infinite.vectors[0].isnan().all() and infinite.defined()[1].all()


def test_settings_that_make_no_sense():
    residuals = correlated(4, 6)
    with pytest.raises(InputError, match=r"share 0.5 .* expected 0 <= share < 0.5"):
        fit_trimmed_mean_difference(residuals, share=0.5)
    for bad in (0.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="expected 0 < shrinkage <= 1, or None"):
            fit_linear_discriminant(residuals, shrinkage=bad)
    for fit in (fit_logistic_probe, fit_logistic_probe_pattern):
        for bad in (0.0, -1.0, float("inf")):
            with pytest.raises(InputError, match="expected a finite number above 0, or None"):
                fit(residuals, C=bad)
    for name in NAMES:
        with pytest.raises(InputError, match="needs the residuals of each prompt"):
            make_estimator(name)(residuals.stats())
    assert fit_linear_discriminant(residuals, shrinkage=0.5).method == (
        "linear discriminant (shrinkage 0.5)"
    )


def test_components_are_of_the_categories_with_pairs():
    residuals = correlated(4, 6)

    def without_pairs(*categories):
        prompts = [replace(p, pair=None) if p.category in categories else p for p in every]
        return residuals.only(prompts=PromptSet(tuple(prompts)))

    every = residuals.labelled
    within = make_estimator("pair_difference_pca").within_categories
    unpaired = without_pairs("blue")
    fitted = fit_pair_difference_pca(unpaired)
    whole = fit_pair_difference_pca(residuals).at("red", 1)
    assert torch.equal(fitted.at("red", 1).vector, whole.vector)
    assert not fitted.defined()[fitted.categories.index("blue")].any()
    # The pooled axis is of the pairs there are: of the red ones alone.
    assert float((within(unpaired).at("pooled", 1).vector @ whole.vector).abs()) > 1 - 1e-6
    for fit in (fit_pair_difference_pca, within):
        with pytest.raises(InputError, match=r"no category of \['red', 'blue'\] has pairs; pair_"):
            fit(without_pairs("red", "blue"))
    for name in set(NAMES) - {"pair_difference_pca"}:
        assert make_estimator(name)(unpaired).defined().all()

"""Ridge mean differences, plain and weighted: limits, planted covariances, confidences."""

from dataclasses import replace

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from support.paired_residuals import SITE, prompts_of, residuals_of, some_residuals
from support.simulated import generator

from refusal_lens.directions import (
    ESTIMATORS,
    fit_mean_difference,
    fit_ridge_mean_difference,
    fit_weighted_ridge_mean_difference,
    weighted_estimator,
)
from refusal_lens.errors import InputError
from refusal_lens.linalg import ridge_solve
from refusal_lens.prompts import PromptSet

D = 12


def anisotropic(n_pairs=400, seed=0):
    """Both sides with one covariance, of standard deviations from .3 to 3; means apart by ones."""
    spread = torch.linspace(0.3, 3.0, D)
    resid = torch.randn(2 * n_pairs, 1, D, generator=generator(seed)) * spread
    resid[::2] += 1.0
    return residuals_of(resid, prompts_of(n_pairs, ("red",))), spread


def of(fitted, category="red"):
    return fitted.at(category, 1).vector.double()


@pytest.mark.parametrize(("n", "d"), [(5, 9), (9, 5), (7, 7), (0, 4)])
@pytest.mark.parametrize("ridge", [1e-4, 0.1, 50.0])
def test_solving_among_samples_is_inverting_the_matrix(n, d, ridge):
    deviations = torch.randn(n, d, generator=generator(1)).double()
    right = torch.randn(d, 3, generator=generator(2)).double()
    covariance = deviations.T @ deviations
    added = ridge * covariance.trace() / d if n else torch.tensor(1.0)
    inverse = torch.linalg.inv(covariance + added * torch.eye(d).double())
    solved = ridge_solve(deviations, right, ridge)
    assert torch.allclose(solved, inverse @ right, rtol=1e-7, atol=1e-7 * float(solved.abs().max()))


def test_a_large_ridge_gives_the_mean_difference():
    residuals, _ = anisotropic()
    mean = of(fit_mean_difference(residuals))
    cosines = [
        float(of(fit_ridge_mean_difference(residuals, ridge=r)) @ mean) for r in (0.1, 10.0, 1e5)
    ]
    assert cosines == sorted(cosines) and cosines[0] < 0.8 and cosines[2] > 1 - 1e-6


def test_a_small_ridge_gives_linear_discriminant_analysis():
    """Equal covariances: LDA pools both sides, RMD takes one; they agree up to sampling error."""
    residuals, spread = anisotropic(1000)
    x = residuals.at(SITE).numpy()
    y = [p.label == "refuse" for p in residuals.labelled]
    lda = torch.from_numpy(LinearDiscriminantAnalysis(solver="eigen").fit(x, y).coef_[0]).double()
    ridge = of(fit_ridge_mean_difference(residuals, ridge=1e-8))
    truth = (1 / spread.square()).double()
    assert float(ridge @ lda / lda.norm()) > 0.99
    assert float(ridge @ truth / truth.norm()) > 0.99
    assert float(of(fit_mean_difference(residuals)) @ truth / truth.norm()) < 0.6


def test_the_published_ridge_is_the_formula():
    residuals, _ = anisotropic(30)
    x = residuals.at(SITE).double()
    refuse, comply = x[::2], x[1::2]
    covariance = torch.cov(comply.T, correction=0)
    added = 0.1 * covariance.trace() / D * torch.eye(D)
    axis = torch.linalg.inv(covariance + added) @ (refuse.mean(0) - comply.mean(0))
    fitted = fit_ridge_mean_difference(residuals).at("red", 1)
    assert torch.allclose(fitted.vector.double(), axis / axis.norm(), atol=1e-6)
    gap = float((refuse.mean(0) - comply.mean(0)) @ axis / axis.norm())
    assert fitted.scale == pytest.approx(gap, rel=1e-5)
    assert fitted.high - fitted.low == pytest.approx(gap, rel=1e-4)


def test_more_dimensions_than_prompts_and_another_unit_of_the_stream():
    """The ridge is relative: the same direction in a stream ten times as long."""
    residuals = residuals_of(some_residuals(10, d=300), prompts_of(10))
    longer = replace(residuals, tensor=10 * residuals.tensor)
    a, b = fit_ridge_mean_difference(residuals), fit_ridge_mean_difference(longer)
    assert torch.allclose(a.vectors, b.vectors, atol=1e-5)
    assert torch.allclose(10 * a.scale, b.scale, rtol=1e-4)


def test_a_side_that_does_not_vary_or_is_not_there():
    resid = some_residuals(6)
    resid[1:12:2] = 2.0
    residuals = residuals_of(resid, prompts_of(6))
    assert torch.allclose(
        of(fit_ridge_mean_difference(residuals)), of(fit_mean_difference(residuals)), atol=1e-5
    )
    kept = [p for p in residuals.labelled if (p.category, p.label) != ("red", "comply")]
    fitted = fit_ridge_mean_difference(residuals.only(prompts=PromptSet(tuple(kept))))
    assert fitted.vectors[0].isnan().all() and fitted.scale[0] == 0 and fitted.defined()[1].all()


def test_shuffled_labels_separate_no_held_out_prompts():
    """Along an axis fitted on chance; along the real one they are apart by over two deviations."""
    train, held_out = anisotropic(100)[0], anisotropic(100, seed=1)[0].at(SITE).double()

    def apart(fitted):
        along = held_out @ of(fitted)
        return float((along[::2].mean() - along[1::2].mean()) / along[1::2].std())

    by_chance = []
    for seed in range(20):
        order = torch.randperm(200, generator=generator(seed))
        by_chance.append(
            apart(fit_ridge_mean_difference(replace(train, tensor=train.tensor[order])))
        )
    assert apart(fit_ridge_mean_difference(train)) > 2 > 2 * abs(sum(by_chance) / 20)


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("nan"), float("inf")])
def test_a_ridge_is_positive(ridge):
    with pytest.raises(InputError, match="must be a positive number"):
        fit_ridge_mean_difference(residuals_of(some_residuals(), prompts_of(10)), ridge=ridge)


def by_label(residuals, refuse=1.0, comply=-1.0):
    return {p.id: refuse if p.label == "refuse" else comply for p in residuals.labelled}


@pytest.mark.parametrize("sure", [(1.0, -1.0), (0.3, -0.7)])
def test_equal_weights_on_a_side_are_the_plain_ridge_mean_difference(sure):
    """And so its limits are those tested above; it is registered under one name alone."""
    residuals = residuals_of(some_residuals(), prompts_of(10))
    plain = fit_ridge_mean_difference(residuals)
    weighted = fit_weighted_ridge_mean_difference(residuals, confidence=by_label(residuals, *sure))
    for name in ("vectors", "scale", "low", "high"):
        assert torch.allclose(getattr(weighted, name), getattr(plain, name), atol=1e-5)
    assert weighted.count == plain.count
    assert "weighted_ridge_mean_difference" not in ESTIMATORS


def test_the_weighted_formula():
    residuals, _ = anisotropic(30)
    x = residuals.at(SITE).double()
    c = torch.rand(60, generator=generator(3)).double() * 0.8 + 0.15
    c[1::2] *= -1
    confidence = dict(zip(residuals.ids, c.tolist(), strict=True))
    w = [c[::2] / c[::2].sum(), c[1::2] / c[1::2].sum()]
    refuse, comply = w[0] @ x[::2], w[1] @ x[1::2]
    covariance = (x[1::2] - comply).T @ torch.diag(w[1]) @ (x[1::2] - comply)
    added = 0.1 * covariance.trace() / D * torch.eye(D)
    axis = torch.linalg.inv(covariance + added) @ (refuse - comply)
    fitted = fit_weighted_ridge_mean_difference(residuals, confidence=confidence).at("red", 1)
    assert torch.allclose(fitted.vector.double(), axis / axis.norm(), atol=1e-6)
    assert fitted.high == pytest.approx(float(refuse @ axis / axis.norm()), abs=1e-4)
    assert fitted.low == pytest.approx(float(comply @ axis / axis.norm()), abs=1e-4)
    moved = replace(
        residuals, tensor=residuals.tensor + 7.0
    )  # as if a neutral mean were taken away
    again = fit_weighted_ridge_mean_difference(moved, confidence=confidence).at("red", 1)
    assert torch.allclose(again.vector, fitted.vector, atol=1e-4)


def test_sides_come_from_the_confidence_and_neutral_prompts_stay_out():
    """Five refuse-side prompts were answered, both of pair 9 refused; pair 8 is neutral."""
    residuals = residuals_of(some_residuals(), prompts_of(10))
    confidence = by_label(residuals)
    confidence |= {f"red{i}refuse": -0.9 for i in range(5)} | {"red9comply": 0.9}
    confidence |= {"red8refuse": 0.1, "red8comply": -0.1}
    fitted = fit_weighted_ridge_mean_difference(residuals, confidence=confidence)
    assert fitted.count == ((5, 13), (10, 10))
    spoilt = residuals.tensor.clone()
    spoilt[[residuals.ids.index("red8refuse"), residuals.ids.index("red8comply")]] += 1e3
    again = fit_weighted_ridge_mean_difference(
        replace(residuals, tensor=spoilt), confidence=confidence
    )
    assert torch.equal(again.vectors, fitted.vectors)


def test_uncertain_prompts_that_are_mislabelled_count_little():
    """A third of the refuse side is answered, which the judge reads as refusals, but unsurely."""
    prompts, resid = prompts_of(60, ("red",)), some_residuals(60)[:120]
    planted = torch.zeros(120, dtype=torch.bool)
    planted[:40:2] = True
    resid[planted] = torch.randn(20, 1, D, generator=generator(5)) - 6.0  # far off, elsewhere
    residuals = residuals_of(resid, prompts)
    sure = by_label(residuals)
    unsure = sure | {key: 0.11 for key, p in zip(residuals.ids, planted, strict=True) if p}
    plain, weighted = (
        of(fit_weighted_ridge_mean_difference(residuals, confidence=c)) for c in (sure, unsure)
    )
    assert float(weighted[0]) > 0.75 > 0.4 > float(plain[0])


def test_confidences_are_checked():
    residuals = residuals_of(some_residuals(), prompts_of(10))
    sure = by_label(residuals)
    lacking = {key: c for key, c in sure.items() if key != "red0refuse"}
    for confidence, message in (
        (lacking, "prompt 'red0refuse' has no confidence, as 1 of 40"),
        (sure | {"blue1comply": -1.5}, r"'blue1comply' is -1.5; expected a number from -1"),
        (sure | {"blue1comply": float("nan")}, "'blue1comply' is nan"),
        (dict.fromkeys(sure, 0.05), "all 40 prompts are within 0.1 of 0"),
    ):
        with pytest.raises(InputError, match=message):
            fit_weighted_ridge_mean_difference(residuals, confidence=confidence)
    extra = sure | {"another prompt": 7.0}
    assert fit_weighted_ridge_mean_difference(residuals, confidence=extra).defined().all()


@pytest.mark.parametrize("answered", [-0.8, 0.0])
def test_a_category_with_one_decided_side_takes_no_part_in_the_mean(answered):
    """Every prompt of "blue" was answered, or is neutral: the mean over categories is red's."""
    residuals = residuals_of(some_residuals(), prompts_of(10))
    confidence = by_label(residuals)
    confidence |= {p.id: answered for p in residuals.labelled if p.category == "blue"}
    red = fit_weighted_ridge_mean_difference(residuals, confidence=confidence)
    within = weighted_estimator(confidence).within_categories(residuals)
    assert within.count == ((10, 10),)
    assert within.method == "weighted ridge mean difference within categories"
    for name in ("vectors", "scale", "low", "high"):
        assert torch.allclose(getattr(within, name)[0], getattr(red, name)[0], atol=1e-5)


def test_one_neutral_category_of_three_is_left_out():
    residuals = residuals_of(
        torch.randn(60, 1, D, generator=generator(0)), prompts_of(10, ("red", "blue", "green"))
    )
    confidence = by_label(residuals)
    confidence |= {p.id: 0.0 for p in residuals.labelled if p.category == "blue"}
    two = residuals.only(category=["red", "green"])
    within = weighted_estimator(confidence).within_categories(residuals)
    assert torch.allclose(
        within.vectors, weighted_estimator(confidence).within_categories(two).vectors
    )
    assert within.count == ((20, 20),)


def test_the_mean_over_categories_is_of_the_sides_by_confidence():
    """Confidences against the labels turn the direction, and its ends, around."""
    residuals = residuals_of(some_residuals(), prompts_of(10))
    plain = weighted_estimator(by_label(residuals)).within_categories(residuals)
    turned = weighted_estimator(by_label(residuals, -1.0, 1.0)).within_categories(residuals)
    apart = residuals.stats().mean.mean(0)[:, 0, 0] @ turned.vectors[0, 0, 0].double()
    assert float(turned.low) == pytest.approx(float(apart[0]), abs=1e-4)  # what was refused
    assert float(turned.high) == pytest.approx(float(apart[1]), abs=1e-4)
    assert float(plain.high - plain.low) == pytest.approx(float(plain.scale), abs=1e-4)
    assert float(turned.high - turned.low) == pytest.approx(float(turned.scale), abs=1e-4)

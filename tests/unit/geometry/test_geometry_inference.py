"""Nulls, controls, shared groups and contrasts, against brute force and simulated truth."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from scipy.stats import false_discovery_control
from support.paired_residuals import prompts_of, residuals_of, with_differences
from support.simulated import draw, generator, means

from refusal_lens.errors import InputError
from refusal_lens.geometry import (
    PairProducts,
    compare_to_control,
    cosine_table,
    fit_contrasts,
    fit_geometry,
    fit_shared_pool,
    separability,
    verdicts,
)
from refusal_lens.geometry.groups import Groups, contrast_table
from refusal_lens.sites import Site

SITES = (Site(1), Site(2))


def sign_flips(differences, seed=0, sites=SITES):
    """Sign-flip tests of {category: [pair, site, d]} at one offset."""
    whole = with_differences({c: d[:, None] for c, d in differences.items()}, sites)
    return separability(whole, seed=seed)


def noise(n, d, seed, n_sites=2):
    return torch.randn(n, n_sites, d, generator=generator(seed), dtype=torch.float64)


def test_the_sign_flip_p_is_that_of_all_flips():
    """Ten pairs have 1,024 flips; 9,999 random ones come within four binomial errors."""
    d = noise(10, 6, 1) + 0.35
    flips = torch.tensor(list(itertools.product((1.0, -1.0), repeat=10)), dtype=torch.float64)

    def z(signs, x):
        products = torch.einsum("bi,ij,bj->b", signs, x @ x.T, signs) - x.square().sum()
        gram = x @ x.T
        return products / (2 * (gram.square().sum() - gram.diagonal().square().sum())).sqrt()

    of_sites = torch.stack([z(flips, d[:, s]) for s in range(2)])
    assert of_sites.mean(1).abs().max() < 1e-12  # exactly 0 over all flips,
    assert torch.allclose(of_sites.square().mean(1), torch.ones(2, dtype=torch.float64))  # var 1
    tests = sign_flips({"red": d})
    assert torch.allclose(tests.z[0, 0].double(), of_sites[:, 0], atol=1e-5)
    exact = (of_sites.max(0).values >= of_sites[:, 0].max() - 1e-9).double().mean()
    error = float((exact * (1 - exact) / 9999).sqrt())
    assert abs(float(tests.p[0]) - float(exact)) < 4 * error + 1e-4
    assert 0.002 < exact < 0.5
    assert (tests.p_max >= tests.p[0]).all()


def test_p_is_uniform_where_nothing_is_there():
    """300 data sets; the maximum over two correlated sites is held, its parts alone would not."""
    p_values = []
    for seed in range(300):
        d = noise(12, 5, seed)
        d[:, 1] += d[:, 0]
        p_values.append(float(sign_flips({"red": d}, seed).p[0]))
    assert scipy_stats.kstest(p_values, "uniform").pvalue > 0.01
    assert 0.02 < np.mean(np.array(p_values) <= 0.05) < 0.09


def test_what_is_there_is_found_and_the_rates_of_false_findings_are_held():
    differences = {f"none {i}": noise(20, 8, i) for i in range(6)}
    differences["planted"] = noise(20, 8, 99)
    differences["planted"][:, 1] += 1.5
    tests = sign_flips(differences)
    assert tests.separable("planted")
    assert float(tests.p[-1]) == pytest.approx(1e-4)
    assert "of 7 categories separable" in repr(tests) and "9999 sign flips" in repr(tests)
    q = false_discovery_control(tests.p.double().numpy())
    assert np.allclose(tests.q, q, rtol=1e-5)
    assert sum(tests.separable(c) for c in tests.categories) <= 2
    with pytest.raises(InputError, match="'mauve' is not in"):
        tests.separable("mauve")


def test_scale_rotation_and_order_of_sides_leave_z():
    d = noise(9, 6, 3)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator(4), dtype=torch.float64))
    z = sign_flips({"red": d}).z
    assert torch.allclose(z, sign_flips({"red": 7 * d @ turn}).z, atol=1e-5)
    assert torch.allclose(z, sign_flips({"red": -d}).z, atol=1e-6)


def test_no_difference_is_undefined_and_no_number():
    d = noise(9, 6, 5)
    tests = sign_flips({"red": torch.zeros_like(d), "blue": d * torch.tensor([[[0.0], [1.0]]])})
    assert tests.z[0].isnan().all() and tests.p[0].isnan() and tests.q[0].isnan()
    assert tests.z[1, 0].isnan().tolist() == [True, False] and tests.q[1] == tests.p[1]
    assert verdicts(tests, None)["red"] == "undefined"
    for bad, words in ((d[:2], "2 pairs"), (d * torch.nan, "all finite")):
        with pytest.raises(InputError, match=words):
            sign_flips({"red": bad})
    with pytest.raises(InputError, match="500 sign flips are too few"):
        separability(with_differences({"red": d[:, None]}, SITES), draws=500)


def two_models(n=40, d=30, seed=0):
    """A control and a model that adds to the refuse side of "red" alone, on the same pairs."""
    prompts = prompts_of(n)
    random = generator(seed)
    control = torch.randn(4 * n, 1, d, generator=random)
    control[::2, 0, 0] += 1.0  # both categories' content
    model = control + 0.1 * torch.randn(4 * n, 1, d, generator=random)
    model[: 2 * n : 2, 0, 1] += 2.0
    fitted = [
        fit_geometry(residuals_of(resid, prompts))
        for name, resid in (("model", model), ("control", control))
    ]
    return prompts, fitted[0], fitted[1], (model, control)


def test_refusal_is_told_from_content():
    prompts, model, control, (resid, _) = two_models()
    comparison = compare_to_control(model, control)
    assert torch.allclose(comparison.share, model.share - control.share)
    assert comparison.share_low[0, 0] > 0.03 and comparison.q[0] < 0.01
    assert comparison.share_low[0, 1] < 0 < comparison.share_high[0, 1] and comparison.q[1] > 0.05
    d = {
        c: (resid[::2] - resid[1::2]).double()[i * 40 : (i + 1) * 40]
        for i, c in enumerate(prompts.categories)
    }
    tests = sign_flips(d, sites=(Site(1),))
    assert "1 of 2 categories beyond the control" in repr(comparison)
    assert verdicts(tests, comparison) == {"red": "refusal direction", "blue": "separable"}
    assert set(verdicts(tests, None).values()) == {"separable"}


def test_pairs_that_both_models_read_give_narrower_differences():
    """Against the sum of both variances; .1 of noise is all that the models don't share."""
    _, model, control, _ = two_models()
    comparison = compare_to_control(model, control)
    apart = (model.share_influence.square() + control.share_influence.square())[0, 40:].sum()
    half = scipy_stats.t.ppf(0.975, 39) * float(apart.sqrt())
    assert float(comparison.share_high[0, 1] - comparison.share[0, 1]) < half / 2
    same = compare_to_control(model, model)
    assert (same.share == 0).all() and (same.share_high == 0).all() and same.q.isnan().all()


def test_the_difference_of_shares_covers_the_truth():
    """The noise is common to both models; 200 repeats, the truth from 100,000 pairs."""
    random, covered, truth = generator(8), 0, []
    many = torch.randn(100_000, 9, generator=random, dtype=torch.float64)
    for length in (2.0, 1.0):
        d = many.clone()
        d[:, 0] += length
        truth.append(float((d / d.norm(dim=1, keepdim=True)).mean(0).square().sum()))
    for _ in range(200):
        z = torch.randn(40, 9, generator=random, dtype=torch.float64)
        tables = []
        for length in (2.0, 1.0):
            mu = torch.zeros(9, dtype=torch.float64)
            mu[0] = length
            tables.append(cosine_table(PairProducts.of([mu + z])))
        influence = tables[0].share_influence - tables[1].share_influence
        half = scipy_stats.t.ppf(0.975, 39) * float(influence.square().sum().sqrt())
        difference = float(tables[0].share[0] - tables[1].share[0])
        covered += abs(difference - (truth[0] - truth[1])) <= half
    assert 0.90 <= covered / 200 <= 0.99


def test_only_the_same_pairs_are_compared():
    _, model, control, _ = two_models()
    other = replace(control, pairs=(*control.pairs[1:], control.pairs[0]))
    with pytest.raises(InputError, match="differ in pairs"):
        compare_to_control(model, other)


def test_apart_from_one_is_a_question_of_its_own():
    _, model, _, _ = two_models()
    e, apart = model.cosine("red", "blue", 1), model.apart("red", "blue", 1)
    assert apart.value == pytest.approx(1 - e.value)
    ratio = scipy_stats.t.ppf(0.95, 78) / scipy_stats.t.ppf(0.975, 78)
    assert apart.value - apart.low == pytest.approx((e.value - e.low) * ratio, rel=1e-4)
    assert model.apart("red", "red", 1).value == 0.0


def grouped(parts):
    """Groups of their own units from {name: [n, d]}; equal unit names make pairs."""
    rows, resid = {}, []
    for name, (units, x) in parts.items():
        start = sum(len(r) for r in resid)
        rows[name] = [(u, start + i) for i, u in enumerate(units)]
        resid.append(x)
    return Groups.of(rows, torch.cat(resid))


def twins_of(n, seed):
    mu = 2 * means(0.6, 15)
    random = generator(seed)
    refuse = draw(mu, n, 1.0, random)
    comply = [
        0.5 * (r - m) + torch.randn(n, 15, generator=random)
        for r, m in zip(refuse, mu, strict=True)
    ]
    return refuse, comply


def test_contrasts_of_twins_are_the_cosines_of_pairs():
    refuse, comply = twins_of(12, 1)
    names = [[f"{c}{i}" for i in range(12)] for c in "ab"]
    groups = grouped(
        {
            f"{label}{k}": (names[k], side[k])
            for k in range(2)
            for label, side in (("r", refuse), ("c", comply))
        }
    )
    matrix = torch.tensor([[1, -1, 0, 0], [0, 0, 1, -1]], dtype=torch.float64)
    contrasts = contrast_table(groups, matrix)
    products = PairProducts.of([r - c for r, c in zip(refuse, comply, strict=True)])
    table, whole = cosine_table(products), products.estimate()
    u = contrasts.unbiased.diagonal().sqrt()
    assert torch.allclose(contrasts.unbiased / torch.outer(u, u), whole.corrected[0], atol=1e-10)
    # Their biases differ as (24 - 1) / 24 and (12 - 1) / 12 do: one jackknife, or one a category.
    off = (whole.corrected[0] - table.corrected)[0, 1]
    assert abs(float((whole.corrected[0] - contrasts.corrected)[0, 1] / off) - 23 / 22) < 1e-6
    assert torch.allclose(contrasts.naive, whole.naive[0], atol=1e-10)
    assert torch.allclose(contrasts.reliability, whole.reliability[0], atol=1e-10)
    # Unpaired, the twins' common noise would count as noise of the difference.
    apart = grouped(
        {
            f"{label}{k}": ([f"{label}{u}" for u in names[k]], side[k])
            for k in range(2)
            for label, side in (("r", refuse), ("c", comply))
        }
    )
    assert (contrast_table(apart, matrix).reliability < contrasts.reliability).all()


def test_contrasts_with_a_common_group_are_unbiased():
    """Three groups of 6 with means at the corners of a triangle, cosine .5; 400 repeats."""
    corners = torch.zeros(3, 12, dtype=torch.float64)
    corners[range(3), range(3)] = 1.0
    matrix = torch.tensor([[1, -1, 0], [1, 0, -1]], dtype=torch.float64)
    random, inner, naive = generator(9), [], []
    for _ in range(400):
        x = draw(corners, 6, 1.0, random)
        contrasts = contrast_table(
            grouped({str(g): ([f"{g}/{i}" for i in range(6)], v) for g, v in enumerate(x)}), matrix
        )
        inner.append(contrasts.unbiased.flatten().tolist())
        naive.append(float(contrasts.products[0, 1]))
    error = np.std(inner, axis=0) / 20
    assert (np.abs(np.mean(inner, axis=0) - [2, 1, 1, 2]) < 4 * error).all()
    assert np.mean(naive) == pytest.approx(1 + 12 / 6, abs=0.3)  # the shared group's noise


def test_leaving_out_a_unit_leaves_out_all_of_it():
    refuse, comply = twins_of(6, 2)
    names = [f"u{i}" for i in range(6)]
    parts = {
        "r": (names, refuse[0] + 2.0),
        "c": (names[:5], comply[0][:5]),
        "p": (names, comply[1]),
    }
    matrix = torch.tensor([[1, -1, 0], [1, 0, -1]], dtype=torch.float64)
    whole = contrast_table(grouped(parts), matrix)
    left = []
    for gone in names:
        kept = {
            k: ([u for u in units if u != gone], x[[u != gone for u in units]])
            for k, (units, x) in parts.items()
        }
        u = contrast_table(grouped(kept), matrix).unbiased
        left.append(u[0, 1] / (u[0, 0] * u[1, 1]).sqrt())
    values = torch.stack(left)
    u = whole.unbiased
    ratio = u[0, 1] / (u[0, 0] * u[1, 1]).sqrt()
    assert float(whole.corrected[0, 1]) == pytest.approx(float(6 * ratio - 5 * values.mean()))
    half = scipy_stats.t.ppf(0.975, 5) * float(
        (5 / 6 * (values - values.mean()).square().sum()).sqrt()
    )
    assert float(whole.high[0, 1] - whole.corrected[0, 1]) == pytest.approx(half, rel=1e-8)


def pool_residuals(n, shift, seed, n_pool=None):
    """Two categories, orthogonal to their twins' difference; the pool is a third one's twins."""
    prompts = prompts_of(n, ("red", "blue", "pool"))
    resid = torch.randn(6 * n, 1, 20, generator=generator(seed))
    for k in range(3):
        resid[2 * n * k : 2 * n * (k + 1) : 2, 0, k] += 2.0
        if k < 2:
            resid[2 * n * k : 2 * n * (k + 1), 0, 10] += shift[k]  # topic: both sides alike
    return prompts, resid


@pytest.mark.parametrize(("shift", "sign"), [((2.0, 2.0), 1), ((2.0, -2.0), -1), ((0.0, 0.0), 0)])
def test_the_shared_pool_has_two_effects(shift, sign):
    """True cosine 0 with twins; with the pool s_a s_b / sqrt((4 + s_a^2)(4 + s_b^2)) = +-1/2."""
    reference, noises = [], []
    for seed in range(30):
        prompts, resid = pool_residuals(25, shift, seed)
        shared_pool = fit_shared_pool(residuals_of(resid, prompts), "pool")
        reference.append(float(shared_pool.reference[0, 0, 1]))
        noises.append(float(shared_pool.shared_noise[0, 0, 1]))
    assert np.mean(reference) == pytest.approx(sign * 0.5, abs=0.08)
    assert min(noises) > 0
    length = 4 + shift[0] ** 2
    assert np.mean(noises) == pytest.approx(20 / 25 / length, rel=0.15)


def test_shared_noise_vanishes_with_the_pool_and_the_reference_stays():
    shared_pools = {}
    for n in (10, 160):
        prompts, resid = pool_residuals(n, (2.0, 2.0), n)
        shared_pools[n] = fit_shared_pool(residuals_of(resid, prompts), "pool")
    small, large = (float(shared_pools[n].shared_noise[0, 0, 1]) for n in (10, 160))
    assert large < small / 8
    assert float(shared_pools[160].reference[0, 0, 1]) == pytest.approx(0.5, abs=0.15)
    assert shared_pools[160].n_pool == 160 and shared_pools[160].pool == "pool"
    with pytest.raises(InputError, match="'mauve' is not in"):
        fit_shared_pool(residuals_of(resid, prompts), "mauve")


def test_contrasts_are_taken_within_categories():
    """Refusing adds along one axis, harm along another, and each category has a place of its own
    far away; categories refuse at different rates, which would show across them."""
    prompts = prompts_of(24)
    random = generator(3)
    resid = torch.randn(96, 1, 16, generator=random) * 0.5
    refused = {}
    for row, p in enumerate(prompts):
        share = 16 if p.category == "red" else 8
        refused[p.id] = (row // 2) % 24 < (share if p.label == "refuse" else 6)
        resid[row, 0, 0] += 2.0 * refused[p.id]
        resid[row, 0, 1] += 2.0 * (p.label == "refuse")
        resid[row, 0, 2] += 30.0 * (p.category == "red")
    residuals = residuals_of(resid, prompts)
    contrasts = fit_contrasts(residuals, refused)
    assert contrasts.groups == {
        "harmful refused": 24,
        "harmful complied": 24,
        "benign refused": 12,
        "benign complied": 36,
    }
    # harmful refused - benign complied = both axes; the others the first alone
    expected = torch.tensor([[1, 0.5**0.5, 0.5**0.5], [0.5**0.5, 1, 1], [0.5**0.5, 1, 1]])
    assert torch.allclose(contrasts.corrected[0], expected, atol=0.12)
    assert ((contrasts.low <= expected) & (expected <= contrasts.high))[0].sum() >= 7
    few = {k: v for k, v in refused.items() if not v or "refuse" in k}
    assert fit_contrasts(residuals, few).names == contrasts.names[:2]
    with pytest.raises(InputError, match=r"only 0 of the contrasts .*harmful refused 48"):
        fit_contrasts(residuals, {p.id: True for p in prompts})

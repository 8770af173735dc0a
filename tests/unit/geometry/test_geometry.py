"""Geometry: theorems, brute force, simulation with known truth, and one published matrix.

Simulations draw pair differences mu + sigma z in d dimensions; the noise in |mean|^2 is then
sigma^2 d / n, and reliability 1 / (1 + that) for |mu| = 1.
"""

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from support.paired_residuals import PROVENANCE, prompts_of, residuals_of, some_residuals
from support.simulated import draw, generator, means

from refusal_lens.directions import fit_mean_difference, make_estimator
from refusal_lens.directions.estimator import NOISE_FLOOR
from refusal_lens.errors import InputError
from refusal_lens.geometry import (
    Geometry,
    PairProducts,
    ceilings,
    cluster,
    corrected_cosines,
    cosine_table,
    fit_geometry,
    participation_ratio,
    reliability,
    unbiased_sq_length,
)
from refusal_lens.geometry.clusters import eigenvalue_shares, symmetrise
from refusal_lens.geometry.frame import pair_differences
from refusal_lens.prompts import PromptSet
from refusal_lens.residuals import Residuals, StatsAccumulator
from refusal_lens.sites import Site

FIXTURES = Path(__file__).parent / "published"


def table_of(differences):
    return cosine_table(PairProducts.of(differences))


def stats_of(refuse, comply, *, paired=True):
    """Statistics of one category at one site."""
    sums = StatsAccumulator(("red",), (Site(1),), (-1,), refuse.shape[-1])
    label = torch.tensor([0] * len(refuse) + [1] * len(comply))
    rows = torch.arange(len(refuse))
    pairs = torch.stack([rows, rows + len(refuse)], 1) if paired else rows.new_zeros(0, 2)
    sums.update(torch.cat([refuse, comply])[:, None, None], torch.zeros_like(label), label, pairs)
    return sums.finish(PROVENANCE)


def test_reliability_is_the_limit_of_split_halves():
    """All 35 splits of 8 pairs: the mean of 2r/(1+r), r = m1.m2 over the mean |m|^2, is exact."""
    d = draw(means(0.0, 12)[:1], 8, 0.5, generator(1))[0]
    stepped_up = []
    for first in itertools.combinations(range(1, 8), 3):
        half = torch.zeros(8, dtype=torch.bool)
        half[[0, *first]] = True
        a, b = d[half].mean(0), d[~half].mean(0)
        r = float(a @ b) / float((a @ a + b @ b) / 2)
        stepped_up.append(2 * r / (1 + r))
    assert len(stepped_up) == 35
    comply = torch.randn(8, 12, generator=generator(2), dtype=torch.float64)
    whole = PairProducts.of([d]).estimate().reliability
    assert float(whole) == pytest.approx(np.mean(stepped_up), abs=1e-12)
    assert float(reliability(stats_of(comply + d, comply))) == pytest.approx(
        np.mean(stepped_up), abs=1e-10
    )


def test_reliability_is_near_random_split_halves_by_cosine():
    """With r the cosine of the halves, as published; 4,000 splits, tolerance .02."""
    d = draw(means(0.0, 30)[:1], 40, 0.7, generator(3))[0]
    random = np.random.default_rng(0)
    reliabilities = []
    for _ in range(4000):
        order = random.permutation(40)
        a, b = d[order[:20]].mean(0), d[order[20:]].mean(0)
        r = float(a @ b / (a.norm() * b.norm()))
        reliabilities.append(2 * r / (1 + r))
    assert float(table_of([d]).reliability) == pytest.approx(np.mean(reliabilities), abs=0.02)
    assert 0.4 < np.mean(reliabilities) < 0.9


def test_the_squared_length_is_unbiased():
    """|mu|^2 = 1; the naive square is 1 + 20/6 on average. 256 repeats, four standard errors."""
    random = generator(4)
    mu = means(0.0, 20)[:1]
    u, naive, sided = [], [], []
    for _ in range(256):
        d = draw(mu, 6, 1.0, random)[0]
        u.append(float(table_of([d]).sq_length))
        naive.append(float(d.mean(0).square().sum()))
        comply = torch.randn(5, 20, generator=random, dtype=torch.float64)
        sided.append(float(unbiased_sq_length(stats_of(d, comply, paired=False))))
    for values in (u, sided):
        assert abs(np.mean(values) - 1.0) < 4 * np.std(values) / 16
    assert abs(np.mean(naive) - 1.0) > 20 * np.std(naive) / 16


def test_paired_lengths_are_those_of_the_pair_differences():
    random = generator(5)
    refuse, comply = (torch.randn(7, 9, generator=random, dtype=torch.float64) for _ in "ab")
    d = refuse - comply
    expected = np.mean([float(d[i] @ d[j]) for i in range(7) for j in range(7) if i != j])
    assert float(unbiased_sq_length(stats_of(refuse, comply))) == pytest.approx(expected)
    assert float(table_of([d]).sq_length) == pytest.approx(expected)


@pytest.mark.parametrize("cosine", [0.0, 0.6, 0.95])
def test_the_corrected_cosine_is_consistent(cosine):
    """Reliability .6, so a naive cosine of c is near .6 c. 80 repeats at n = 60."""
    random, d, n = generator(6), 40, 60
    sigma = math.sqrt(n / d * (1 / 0.6 - 1))
    corrected, naive = [], []
    for _ in range(80):
        table = table_of(draw(means(cosine, d), n, sigma, random))
        corrected.append(float(table.corrected[0, 1]))
        naive.append(float(table.naive[0, 1]))
    assert np.median(corrected) == pytest.approx(cosine, abs=0.06)
    assert np.mean(naive) == pytest.approx(0.6 * cosine, abs=0.05)
    if cosine:
        assert abs(np.mean(naive) - cosine) > 4 * abs(np.median(corrected) - cosine)


def test_the_ceiling_bounds_a_naive_cosine_of_one():
    random = generator(7)
    tables = [table_of(draw(means(1.0, 40), 60, 1.0, random)) for _ in range(40)]
    naive = np.mean([float(t.naive[0, 1]) for t in tables])
    ceiling = np.mean([float(t.ceiling[0, 1]) for t in tables])
    assert naive == pytest.approx(ceiling, abs=0.02)
    assert ceiling < 0.8
    for t in tables:
        assert torch.allclose(t.ceiling, torch.outer(t.reliability, t.reliability).sqrt())


def corrected_by_hand(a, b):
    def u(d):
        n = len(d)
        return sum(float(d[i] @ d[j]) for i in range(n) for j in range(n) if i != j) / n / (n - 1)

    return float(a.mean(0) @ b.mean(0)) / math.sqrt(u(a) * u(b)), u(a) / float(
        a.mean(0).square().sum()
    )


def test_the_jackknife_equals_brute_force():
    a = draw(means(0.6, 15), 9, 0.3, generator(8))[0]
    b = draw(means(0.6, 15), 7, 0.3, generator(9))[1]
    table = table_of([a, b])

    def without(d, i):
        return torch.cat([d[:i], d[i + 1 :]])

    def spread(values):
        return (len(values) - 1) / len(values) * np.square(values - np.mean(values)).sum()

    def bias(value, left):
        return (len(left) - 1) * (np.mean(left) - value)

    whole, rel = corrected_by_hand(a, b)
    of_a = [corrected_by_hand(without(a, i), b) for i in range(9)]
    of_b = [corrected_by_hand(a, without(b, i))[0] for i in range(7)]
    half = scipy_stats.t.ppf(0.975, 9 + 7 - 2) * math.sqrt(
        spread([c for c, _ in of_a]) + spread(of_b)
    )
    assert float(PairProducts.of([a, b]).estimate().corrected[0, 0, 1]) == pytest.approx(whole)
    off = bias(whole, [c for c, _ in of_a]) + bias(whole, of_b)
    assert abs(off) > 0.001
    whole -= off
    assert float(table.corrected[0, 1]) == pytest.approx(whole, abs=1e-12)
    assert float(table.low[0, 1]) == pytest.approx(whole - half, abs=1e-10)
    assert float(table.high[0, 1]) == pytest.approx(whole + half, abs=1e-10)
    # The reliability of a mean of 9, from 8 pairs: Spearman-Brown.
    common = [r / (8 - 7 * r) for _, r in of_a]  # U / q
    stepped = [9 * x / (1 + 8 * x) for x in common]
    half = scipy_stats.t.ppf(0.975, 8) * math.sqrt(spread(stepped))
    rel -= bias(rel, stepped)
    assert float(table.reliability[0]) == pytest.approx(rel, abs=1e-12)
    assert float(table.reliability_low[0]) == pytest.approx(rel - half, abs=1e-10)
    assert float(table.reliability_high[0]) == pytest.approx(rel + half, abs=1e-10)


def test_matrices_are_symmetric_with_a_unit_diagonal():
    table = table_of([*draw(means(0.6, 15), 9, 0.3, generator(10))] * 2)
    for name in ("naive", "corrected", "low", "high", "ceiling"):
        matrix = getattr(table, name)
        assert torch.allclose(matrix, matrix.T, equal_nan=True)
        if name != "ceiling":
            assert torch.allclose(matrix.diagonal(), torch.ones(4, dtype=torch.float64))


MATRICES = ("naive", "corrected", "low", "high", "ceiling")
ROWS = ("reliability", "reliability_low", "reliability_high")


def fitted(resid, prompts):
    return fit_geometry(residuals_of(resid, prompts))


def assert_equal_geometry(a, b, length=1.0):
    """Float32 residuals: entries agree to 1e-4."""
    for name in (*MATRICES, *ROWS):
        assert torch.allclose(getattr(a, name), getattr(b, name), atol=1e-4), name
    assert torch.allclose(a.length * length, b.length, rtol=1e-4)


def test_geometry_is_the_table_of_the_cached_pairs():
    prompts, resid = prompts_of(10), some_residuals(n_sites=2)
    sites = (Site(3), Site(4))
    shuffled = PromptSet(tuple(sorted(prompts, key=lambda p: p.text + p.id[::-1])))
    g = fit_geometry(residuals_of(resid, prompts, sites).only(prompts=shuffled))
    order = [prompts.categories.index(c) for c in g.categories]
    for s in range(2):
        d = (resid[::2, s] - resid[1::2, s]).double().reshape(2, 10, -1)
        table = table_of([d[c] for c in order])
        for name in (*MATRICES, *ROWS):
            assert torch.allclose(getattr(g, name)[s].double(), getattr(table, name), atol=1e-6)
        assert torch.allclose(g.length[s].double().square(), table.sq_length, rtol=1e-5)
    assert (g.n, g.sites, g.offset) == ((10, 10), sites, -1)
    estimate = g.cosine("red", "blue", 4, control=g)
    assert estimate.value == pytest.approx(float(g.corrected[1, 0, 1]))
    assert estimate.control == estimate.value and estimate.n == 10
    assert estimate.low < estimate.value < estimate.high
    assert torch.equal(g.measurable(), (g.reliability_low >= 0.5).float())
    with pytest.raises(InputError, match="category 'green' is not in"):
        g.cosine("red", "green", 3)
    with pytest.raises(InputError, match=r"layer 9 is not in \['resid_pre\[3\]'"):
        g.cosine("red", "blue", 9)


def test_streamed_sums_give_the_same_numbers_at_every_offset():
    prompts, sites, offsets = prompts_of(10), (Site(3), Site(4)), (-2, -1)
    resid = some_residuals(n_sites=4).reshape(40, 2, 2, 12)
    resid[1:20:2, 0, 0] = resid[:20:2, 0, 0]  # "red" is undefined at one place
    residuals = Residuals.of(resid, prompts, sites=sites, offsets=offsets, provenance=PROVENANCE)
    stats = residuals.stats()
    mean = make_estimator("mean_difference")
    for o, offset in enumerate(offsets):
        for s, site in enumerate(sites):
            pairs = PairProducts.of(pair_differences(residuals, mean, offset=offset)(site))
            of_pairs = pairs.estimate()
            rel = of_pairs.reliability[0]
            for streamed, expected in (
                (corrected_cosines(stats)[o, s], of_pairs.corrected[0]),
                (ceilings(stats)[o, s], torch.outer(rel, rel).sqrt()),
                (reliability(stats)[:, o, s], rel),
            ):
                assert torch.allclose(streamed, expected, atol=1e-5, equal_nan=True)
    assert corrected_cosines(stats)[0, 0, 0].isnan().all()


def test_rotation_and_scale_leave_cosines():
    prompts, resid = prompts_of(10), some_residuals()
    g = fitted(resid, prompts)
    rotation, _ = torch.linalg.qr(torch.randn(12, 12, generator=generator(1)))
    assert_equal_geometry(g, fitted(resid @ rotation, prompts))
    assert_equal_geometry(g, fitted(resid * 25.0, prompts), length=25.0)
    other = resid.clone()
    other[::2] += 1.0
    assert not torch.allclose(g.naive, fitted(other, prompts).naive, atol=1e-2)


def test_what_both_sides_of_a_pair_share_is_nothing():
    """A vector of its own added to both sides of each pair, ten times as long as the signal."""
    prompts, resid = prompts_of(10), some_residuals()
    shared = 10 * torch.randn(20, 1, 12, generator=generator(2)).repeat_interleave(2, 0)
    g = fitted(resid, prompts)
    assert_equal_geometry(g, fitted(resid + shared, prompts))


def test_identical_sides_are_undefined():
    prompts, resid = prompts_of(10), some_residuals()
    resid[1:20:2] = resid[:20:2]
    g = fitted(resid, prompts)
    for name in MATRICES:
        nan = getattr(g, name)[0].isnan()
        assert nan[0].all() and nan[:, 0].all() and not nan[1, 1]
    assert g.reliability[0].isnan().tolist() == g.length[0].isnan().tolist() == [True, False]
    assert g.measurable()[0, 0] == 0.0
    assert g.cosine("red", "blue", 1).value is None


def test_rounding_noise_is_undefined_as_in_the_directions():
    """Site 0: zero. Site 1: half the noise floor, in one direction. Site 2: twice the floor."""
    prompts = prompts_of(10)
    resid = some_residuals(n_sites=3)
    resid[1::2] = resid[::2]
    rms = resid.double().square().sum(-1).mean(0).sqrt()
    sites = tuple(Site(s) for s in range(3))
    # Float32 holds differences of this size only beside numbers that are near zero.
    resid[:, :, 0] = 0.0
    for s, times in ((1, 0.5), (2, 2.0)):
        resid[::2, s, 0] = times * NOISE_FLOOR * rms[s].float()
    g = fit_geometry(residuals_of(resid, prompts, sites))
    assert g.reliability.isnan().tolist() == [[True, True], [True, True], [False, False]]
    assert g.naive[:2].isnan().all() and not g.naive[2].isnan().any()
    assert g.length[:2].isnan().all()
    sums = StatsAccumulator(prompts.categories, sites, (-1,), 12)
    category = torch.tensor([prompts.categories.index(p.category) for p in prompts])
    label = torch.tensor([0, 1]).repeat(20)
    sums.update(resid[:, None], category, label, torch.arange(40).reshape(-1, 2))
    directions = fit_mean_difference(sums.finish(PROVENANCE))
    assert torch.equal(directions.defined()[:, 0].T, 1 - g.reliability.isnan().float())


def test_layer_zero_is_undefined(tiny_llama, three_categories):
    g = fit_geometry(tiny_llama.residuals(three_categories))
    assert g.naive[0].isnan().all() and g.reliability[0].isnan().all()
    assert not g.naive[1:].isnan().any()


def test_what_can_not_be_fitted_is_told():
    prompts, resid = prompts_of(10), some_residuals()
    residuals = residuals_of(resid, prompts)
    with pytest.raises(InputError, match="at least 3 pairs per category, found 2"):
        fit_geometry(residuals.only(prompts=prompts.first(2)))
    with pytest.raises(InputError, match="prompt 'green0refuse' is not among the 40"):
        residuals.only(prompts=prompts_of(10, ("red", "green")))
    with pytest.raises(InputError, match=r"category 'red' has no pairs; .*share a `pair`"):
        fit_geometry(residuals.only(label="refuse"))
    with pytest.raises(InputError, match="offset -3 is not in these residuals"):
        fit_geometry(residuals, offset=-3)
    resid[3, 0, 5] = float("nan")
    with pytest.raises(InputError, match="not finite"):
        fitted(resid, prompts)


def test_a_saved_geometry_gives_the_same_cosines(tmp_path):
    g = fitted(some_residuals(), prompts_of(10))
    g.save(tmp_path / "geometry")
    again = Geometry.load(tmp_path / "geometry")
    assert again.cosine("red", "blue", 1) == g.cosine("red", "blue", 1)
    assert repr(again) == repr(g)


@pytest.fixture(scope="module")
def published():
    """Joad et al. 2026, Table 1: names and cosines, Gemma-2-9B-it, layer 20, position -2."""
    with (FIXTURES / "joad_table1.csv").open(encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    assert [row[0] for row in rows] == names[1:]
    return names[1:], np.array([[float(x) for x in row[1:]] for row in rows])


def test_the_published_matrix_is_symmetrised(published):
    """One pair was printed with .426 above the diagonal and .427 below."""
    names, matrix = published
    assert [tuple(x) for x in np.argwhere(matrix != matrix.T)] == [(1, 10), (10, 1)]
    mean = symmetrise(matrix)
    assert np.array_equal(mean, mean.T)
    assert mean[1, 10] == pytest.approx(0.4265)
    assert (names[1], names[10]) == ("OverRefusal-XST", "Advice-SB")


@pytest.mark.parametrize(
    ("method", "silhouettes"),
    [
        ("average", [0.449, 0.343, 0.286, 0.291, 0.276]),
        ("complete", [0.449, 0.358, 0.327, 0.311, 0.276]),
    ],
)
def test_published_silhouettes(published, method, silhouettes):
    _, matrix = published
    computed = [cluster(matrix, n, method).silhouette for n in range(2, 7)]
    assert computed == pytest.approx(silhouettes, abs=0.005)
    for n in range(2, 7):
        assert set(cluster(matrix, n, method).labels) == set(range(1, n + 1))


@pytest.mark.parametrize("method", ["average", "complete"])
def test_published_clusters(published, method):
    names, matrix = published
    labels = np.array(cluster(matrix, 2, method).labels)
    apart = {n.split("-")[0] for n, x in zip(names, labels, strict=True) if x == labels[2]}
    assert apart == {"Humanizing", "Incomplete", "Indeterminate", "Unsupported"}
    inside = labels == labels[2]
    off = ~np.eye(len(names), dtype=bool)
    assert matrix[np.outer(inside, inside) & off].mean() == pytest.approx(0.645, abs=0.005)
    assert matrix[np.outer(~inside, ~inside) & off].mean() == pytest.approx(0.706, abs=0.005)
    assert matrix[np.outer(inside, ~inside)].mean() == pytest.approx(0.418, abs=0.005)


def test_published_dimension(published):
    _, matrix = published
    assert participation_ratio(matrix) == pytest.approx(2.44, abs=0.005)
    assert eigenvalue_shares(matrix)[:2] == pytest.approx([0.61, 0.17], abs=0.005)
    assert eigenvalue_shares(matrix).sum() == pytest.approx(1.0)


def test_published_accuracy_is_half_of_both_rates():
    """100 harmful and 100 benign prompts: Acc = (RR + 1 - ORR)/2 where all three are rounded alike.

    Eight of the 44 rows, all of them ablations, differ by .001 or .002; Table 12 has none.
    """
    gap = {}
    for table in ("joad_table2.csv", "joad_table12.csv"):
        with (FIXTURES / table).open(encoding="utf-8") as file:
            gap[table] = [
                (row, float(row["acc"]) - (float(row["rr"]) + 1 - float(row["orr"])) / 2)
                for row in csv.DictReader(file)
            ]
    assert len(gap["joad_table2.csv"]) == 44
    off = [row["condition"] for row, x in gap["joad_table2.csv"] if abs(x) > 1e-9]
    assert len(off) == 8 and all(condition.endswith("ablate") for condition in off)
    assert max(abs(x) for rows in gap.values() for _, x in rows) <= 0.002 + 1e-9
    assert all(abs(x) < 1e-9 for _, x in gap["joad_table12.csv"])


def test_dimensions_that_are_known():
    assert participation_ratio(np.eye(5)) == pytest.approx(5.0)
    assert participation_ratio(np.ones((5, 5))) == pytest.approx(1.0)
    two = np.kron(np.eye(2), np.ones((3, 3)))
    assert participation_ratio(two) == pytest.approx(2.0)
    clustering = cluster(two, 2)
    assert len(set(clustering.labels[:3])) == len(set(clustering.labels[3:])) == 1
    assert clustering.labels[0] != clustering.labels[3]
    assert clustering.silhouette == pytest.approx(1.0)


@pytest.mark.parametrize("method", ["average", "complete"])
def test_ties_still_give_the_number_of_clusters(method):
    equal = np.full((5, 5), 0.5)
    np.fill_diagonal(equal, 1.0)
    for n in (2, 3, 4):
        assert len(set(cluster(equal, n, method).labels)) == n


def test_what_is_no_cosine_matrix_is_told():
    with pytest.raises(InputError, match=r"must be square, found shape \(2, 3\)"):
        symmetrise.__wrapped__(np.ones((2, 3)))
    undefined = np.eye(3)
    undefined[0, 1] = float("nan")
    with pytest.raises(InputError, match="undefined entries"):
        participation_ratio(undefined)
    skew = np.eye(3)
    skew[0, 1] = 0.5
    with pytest.raises(InputError, match="differs from its transpose by 0.5"):
        cluster(skew, 2)
    for n in (1, 3):
        with pytest.raises(InputError, match=f"{n} clusters of 3 categories; give 2 to 2"):
            cluster(np.eye(3), n)

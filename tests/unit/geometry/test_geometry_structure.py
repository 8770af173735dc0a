"""Dimension, remainders, clusters, maps, subspaces, layers and agreement, with known truth."""

import math
from cProfile import Profile
from dataclasses import replace
from pstats import Stats

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats
from support.paired_residuals import (
    PROVENANCE,
    prompts_of,
    residuals_of,
    some_residuals,
    with_differences,
)
from support.simulated import draw, generator, means

from refusal_lens.directions import DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.geometry import (
    Frame,
    MatrixCorrelation,
    PairProducts,
    change_over_layers,
    cka,
    cosine_difference,
    effective_dimension,
    fit_geometry,
    fit_structure,
    fit_subspace,
    matrix_correlation,
    participation_ratio,
    principal_angles,
    remainders,
    self_cosines,
)
from refusal_lens.geometry.clusters import best_clustering, dendrogram_links, together
from refusal_lens.geometry.maps import plane_map
from refusal_lens.records import load_record, save_record
from refusal_lens.sites import Site


def with_cosines(cosines, d=40):
    """Unit vectors with these cosines."""
    root = torch.linalg.cholesky(torch.as_tensor(cosines, dtype=torch.float64))
    return torch.nn.functional.pad(root, (0, d - len(root)))


def block(within=0.8, between=0.2, sizes=(3, 2)):
    """Cosines of two clusters."""
    label = np.repeat(np.arange(len(sizes)), sizes)
    c = np.where(label[:, None] == label[None, :], within, between)
    np.fill_diagonal(c, 1.0)
    return c


def products(cosines, n=40, sigma=0.5, seed=0):
    return PairProducts.of(draw(with_cosines(cosines), n, sigma, generator(seed)))


def test_weights_of_zero_and_two_are_left_out_and_doubled_pairs():
    """A pair drawn twice enters twice, but never multiplied with itself."""
    d = draw(3 * means(0.6, 9), 5, 1.0, generator(1))
    pair_products = PairProducts.of(d)
    weights = torch.tensor([[0, 2, 1, 1, 1, 1, 1, 1, 1, 1]], dtype=torch.float64)
    moments = pair_products.moments(weights)
    rows = [1, 1, 2, 3, 4]
    ordered = [(i, j) for i in range(5) for j in range(5) if rows[i] != rows[j]]
    # the copies of pair 1 meet each other nowhere
    u = np.mean([float(d[0][rows[i]] @ d[0][rows[j]]) for i, j in ordered])
    assert float(moments.sq_length[0, 0]) == pytest.approx(u)
    mean = d[0][rows].mean(0)
    assert float(moments.dots[0, 0, 1]) == pytest.approx(float(mean @ d[1].mean(0)))
    left = pair_products.leave_one_out()
    without = PairProducts.of([d[0][1:], d[1]]).estimate()
    assert float(left.corrected[0, 0, 1]) == pytest.approx(float(without.corrected[0, 0, 1]))


def test_bootstrap_draws_are_centred_on_the_estimate():
    """Self-products left out, the mean of U over draws is U itself; kept in, it has all noise."""
    pair_products = products(block(), n=25, sigma=1.0)
    u, drawn = (
        pair_products.estimate().sq_length[0],
        pair_products.resampled(4000, seed=1).sq_length,
    )
    error = drawn.std(0) / math.sqrt(4000)
    assert ((drawn.mean(0) - u).abs() < 4.5 * error).all()
    again = pair_products.resampled(4000, seed=1).sq_length
    assert torch.equal(drawn, again)


def test_resampling_eleven_categories_at_thirty_layers_is_quick():
    """No call per draw: ten times the draws, the same calls."""
    eleven = products(np.eye(11), n=32)
    calls = []
    for draws in (100, 1000):
        with Profile() as profile:
            assert eleven.resampled(draws, 0).sq_length.shape[0] == draws
        calls.append(Stats(profile).total_calls)
    assert calls[1] <= calls[0] + 10


def test_dimension_is_that_of_the_truth_and_noise_does_not_raise_it():
    """Reliability about .6: the naive ratio is far too large. 60 repeats."""
    truth = participation_ratio(block())
    dimensions, naive, covered = [], [], 0
    for seed in range(60):
        p = products(block(), n=30, sigma=0.72, seed=seed)
        e = effective_dimension(p, 40)
        dimensions.append(e.value)
        covered += e.low <= truth <= e.high
        naive.append(participation_ratio(p.estimate().naive[0].numpy()))
    assert np.mean(dimensions) == pytest.approx(truth, abs=0.25)
    assert np.mean(naive) > truth + 0.5
    assert covered >= 54
    assert e.n == 150
    assert e.control == pytest.approx(5 * 40 / 44)


def test_dimension_of_nothing_is_undefined():
    d = draw(means(0.6, 9), 5, 1.0, generator(1))
    e = effective_dimension(PairProducts.of([*d, torch.zeros(5, 9, dtype=torch.float64)]), 9)
    assert (e.value, e.low, e.high) == (None, None, None)


def test_remainders_are_those_of_the_vectors():
    cosines = block()
    mu = with_cosines(cosines)
    p = PairProducts.of(draw(mu, 400, 0.05, generator(3)))
    parts = remainders(p)
    for a in range(5):
        rest = mu[[b for b in range(5) if b != a]].mean(0)
        along = float(mu[a] @ rest / rest.norm())
        assert float(parts.along[a, 0]) == pytest.approx(along, abs=0.01)
        assert float(parts.remainder[a, 0]) == pytest.approx(1 - along**2, abs=0.01)
    assert (parts.reliability[:, 1] > 0.9).all()


def test_a_category_without_its_own_part_has_no_reliable_remainder():
    cosines = np.full((4, 4), 0.999)
    cosines[3, :3] = cosines[:3, 3] = 0.5
    np.fill_diagonal(cosines, 1.0)
    parts = remainders(products(cosines, n=40, sigma=0.7))
    assert (parts.reliability[:3, 1] < 0.5).all() and float(parts.remainder[3, 1]) > 0.5
    assert float(parts.reliability[3, 1]) > 0.5
    assert (parts.remainder[:, 1] <= parts.remainder[:, 0]).all()


def test_clusters_hold_up_or_not():
    firm = products(block(0.9, 0.1), n=40, sigma=0.3)
    c = firm.estimate().corrected[0].numpy()
    best = best_clustering(c)
    assert best.labels == (1, 1, 1, 2, 2)
    share = together(firm, 2, draws=50)
    assert np.allclose(share, np.array(best.labels)[:, None] == np.array(best.labels))
    # Five directions with equal cosines have no clusters: which two fall together is chance.
    loose = together(products(np.full((5, 5), 0.5) + 0.5 * np.eye(5), n=30, sigma=1.0), 2, draws=80)
    assert 0.05 < loose[np.triu_indices(5, 1)].mean() < 0.95 and loose.min() < 0.9
    links = dendrogram_links(c)
    assert links.shape == (4, 4) and links[-1, 2] > 3 * links[-2, 2]


def test_the_map_keeps_distances_and_shows_its_uncertainty():
    """Three vectors in a plane at 0, 40 and 100 degrees: the map is exact."""
    angle = np.radians([0.0, 40.0, 70.0])
    mu = torch.zeros(3, 20, dtype=torch.float64)
    mu[:, 0], mu[:, 1] = torch.cos(torch.tensor(angle)), torch.sin(torch.tensor(angle))
    drawn = plane_map(PairProducts.of(draw(mu, 30, 0.01, generator(1))), draws=50)
    gaps = np.linalg.norm(drawn.place[:, None] - drawn.place[None], axis=-1)
    assert np.allclose(gaps, np.abs(angle[:, None] - angle[None]), atol=0.02)
    assert drawn.shown > 0.99
    wide = plane_map(PairProducts.of(draw(mu, 30, 0.3, generator(1))), draws=50)
    assert (
        np.trace(wide.covariance, axis1=1, axis2=2)
        > 50 * np.trace(drawn.covariance, axis1=1, axis2=2)
    ).all()
    with pytest.raises(InputError, match="at least 3 categories, found 2"):
        plane_map(PairProducts.of(draw(mu[:2], 30, 0.3, generator(1))))


def test_a_direction_against_itself_over_layers():
    """It turns by 30 degrees a layer; noise is common to the layers and would hide that."""
    mu = torch.zeros(3, 30, dtype=torch.float64)
    angle = torch.tensor([0.0, 30.0, 60.0]).deg2rad().double()
    mu[:, 0], mu[:, 1] = torch.cos(angle), torch.sin(angle)
    noise = torch.randn(60, 1, 30, generator=generator(2), dtype=torch.float64)
    d = mu + 0.8 * noise
    cosines = self_cosines(d)
    expected = torch.cos(angle[:, None] - angle[None])
    assert ((cosines.low - 1e-9 <= expected) & (expected <= cosines.high + 1e-9)).all()
    naive = torch.nn.functional.cosine_similarity(d.mean(0)[0], d.mean(0)[2], dim=0)
    assert float(naive) - 0.5 > 3 * abs(float(cosines.cosine[0, 2]) - 0.5)  # common noise raises it

    def cosine(rows):
        n, total = len(rows), rows.sum(0)
        u = (total @ total.T - torch.einsum("isd,itd->st", rows, rows)) / (n * (n - 1))
        return float(u[0, 2] / (u[0, 0] * u[2, 2]).sqrt())

    left = np.array([cosine(torch.cat([d[:i], d[i + 1 :]])) for i in range(60)])
    half = scipy_stats.t.ppf(0.975, 59) * math.sqrt(59 / 60 * np.square(left - left.mean()).sum())
    unbiased = 60 * cosine(d) - 59 * left.mean()
    assert float(cosines.cosine[0, 2]) == pytest.approx(unbiased, abs=1e-9)
    assert float(cosines.high[0, 2] - cosines.cosine[0, 2]) == pytest.approx(half)
    with pytest.raises(InputError, match="found 2 pairs"):
        self_cosines(d[:2])


def test_parting_is_told_from_noise():
    """Cosine .6 at the first site, 0 at the second; noise common to both."""
    prompts = prompts_of(60)
    shared = torch.randn(240, 1, 12, generator=generator(0)).expand(240, 2, 12)
    resid = shared + 0.2 * torch.randn(240, 2, 12, generator=generator(1))
    for s, c in ((0, 0.6), (1, 0.0)):
        for k, mu in enumerate(3 * means(c, 12).float()):
            resid[120 * k : 120 * (k + 1) : 2, s] += mu
    g = fit_geometry(residuals_of(resid, prompts, (Site(1), Site(2))))
    change = change_over_layers(g, "red", "blue", 1, 2)
    assert change.low <= -0.6 <= change.high < 0
    unpaired = math.hypot(*(float(g.high[s, 0, 1] - g.corrected[s, 0, 1]) for s in range(2)))
    assert change.high - change.value < 0.8 * unpaired
    assert change_over_layers(g, "red", "blue", 1, 1).high == 0.0
    with pytest.raises(InputError, match="layer 9"):
        change_over_layers(g, "red", "blue", 1, 9)


def test_two_cosines_of_one_category_are_compared_with_what_they_share():
    """c(a, b) - c(a, c), true difference .8 - .3; 40 repeats cover it, far from 0."""
    truth = torch.tensor([[1, 0.8, 0.3], [0.8, 1, 0.5], [0.3, 0.5, 1]], dtype=torch.float64)
    prompts, covered = prompts_of(40, ("a", "b", "c")), 0
    order = [prompts.categories.index(c) for c in "abc"]
    for seed in range(40):
        resid = torch.zeros(240, 1, 40)
        resid[::2, 0] = torch.cat(draw(with_cosines(truth), 40, 0.3, generator(seed))).float()
        g = fit_geometry(residuals_of(resid, prompts))
        assert order == [0, 1, 2]
        e = cosine_difference(g, ("a", "b", 1), ("a", "c", 1))
        covered += e.low <= 0.5 <= e.high
        assert e.low > 0 and e.value == pytest.approx(
            g.cosine("a", "b", 1).value - g.cosine("a", "c", 1).value
        )
    assert covered >= 36
    assert cosine_difference(g, ("a", "b", 1), ("b", "a", 1)).high == 0.0


@pytest.mark.parametrize("rank", [0, 1, 3])
def test_the_rank_of_what_is_shared(rank):
    """Strengths that vary by pair along `rank` directions, in isotropic noise."""
    random = np.random.default_rng(rank)
    basis = np.linalg.qr(random.standard_normal((50, 3)))[0][:, :rank]
    d = random.standard_normal((32, rank)) * 6 @ basis.T + random.standard_normal((32, 50)) * 0.8
    subspace = fit_subspace(d)
    assert subspace.rank == rank
    assert subspace.error[0] == 1.0 and subspace.error[rank] == subspace.error.min()
    if rank:
        angles = principal_angles(subspace, replace(subspace, basis=basis))
        assert angles.degrees.max() < 25 < 55 < angles.random.min()
    else:
        with pytest.raises(InputError, match="no dimension"):
            principal_angles(subspace, subspace)


def test_subspaces_need_pairs_and_one_space():
    with pytest.raises(InputError, match="found 5 pairs; at least 8"):
        fit_subspace(np.ones((5, 9)))
    with pytest.raises(InputError, match="all finite"):
        fit_subspace(np.full((9, 9), np.nan))
    random = np.random.default_rng(0)
    a, b = (fit_subspace(np.ones((9, d)) + 0.1 * random.standard_normal((9, d))) for d in (5, 6))
    with pytest.raises(InputError, match="subspaces of 5 and 6 dimensions"):
        principal_angles(a, b)


def test_agreement_needs_no_common_space(tmp_path):
    """The same cosines in 40 and in 70 dimensions; other cosines agree no more than chance."""
    random = np.random.default_rng(1)
    vectors = random.standard_normal((8, 6))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ours = products(unit @ unit.T + 1e-6 * np.eye(8), sigma=0.3)
    theirs = PairProducts.of(
        draw(with_cosines(unit @ unit.T + 1e-6 * np.eye(8), 70), 40, 0.3, generator(7))
    )
    a, b = (p.estimate().corrected[0] for p in (ours, theirs))
    correlation = matrix_correlation(a, b)
    agreement = correlation.correlation
    assert agreement.value > 0.9 and correlation.p < 0.001 and agreement.low > 0.5
    assert abs(agreement.control) < 0.1 and agreement.n == 28
    save_record(correlation, tmp_path / "found")
    assert load_record(MatrixCorrelation, tmp_path / "found").correlation == agreement
    order = torch.from_numpy(random.permutation(8))
    assert matrix_correlation(a, b[order][:, order]).p > 0.01
    for bad, words in ((b[:4, :4], "shapes"), (b * torch.nan, "undefined")):
        with pytest.raises(InputError, match=words):
            matrix_correlation(a, bad)


def test_the_permutation_p_is_uniform_without_agreement():
    p_values = []
    for seed in range(60):
        a, b = (
            torch.from_numpy(np.corrcoef(np.random.default_rng([seed, k]).standard_normal((6, 9))))
            for k in (0, 1)
        )
        p_values.append(matrix_correlation(a, b).p)
    assert scipy_stats.kstest(p_values, "uniform").pvalue > 0.01


def test_cka_knows_rotation_and_scale_and_nothing_else():
    random = generator(4)
    d = [torch.randn(30, 12, generator=random, dtype=torch.float64) for _ in range(2)]
    turn, _ = torch.linalg.qr(torch.randn(12, 12, generator=random, dtype=torch.float64))
    other = [torch.randn(30, 20, generator=random, dtype=torch.float64) for _ in range(2)]
    ours = PairProducts.of(d)
    assert cka(ours, PairProducts.of([3 * x @ turn for x in d])) == pytest.approx(1.0)
    assert abs(cka(ours, PairProducts.of(other))) < 0.1
    with pytest.raises(InputError, match="needs the same pairs"):
        cka(ours, PairProducts.of(d[:1]))


def removed_set(vector):
    """A direction set of one direction, at the site and offset of the residuals."""
    one = torch.ones(1, 1, 1)
    return DirectionSet(
        "mean difference", ("pooled",), (-1,), (Site(1),), vector[None, None, None],
        one, 0 * one, one, ((1, 1),), PROVENANCE,
    )  # fmt: skip


def test_a_direction_can_be_removed_first():
    """Without their common axis, vectors at a cosine of .6 have only their own."""
    prompts = prompts_of(200)
    resid = 0.3 * torch.randn(800, 1, 12, generator=generator(0))
    mu = torch.zeros(2, 12)
    mu[:, 0], mu[0, 1], mu[1, 2] = 2.0, 1.0, 1.0
    for k in range(2):
        resid[400 * k : 400 * (k + 1) : 2, 0] += mu[k]
    residuals = residuals_of(resid, prompts)
    plain = fit_geometry(residuals)
    common = torch.zeros(12)
    common[0] = 1.0
    projected_geometry = fit_geometry(residuals, frame=Frame(removed=removed_set(common)))
    assert plain.cosine("red", "blue", 1).value == pytest.approx(0.8, abs=0.03)
    assert projected_geometry.cosine("red", "blue", 1).value == pytest.approx(0.0, abs=0.06)
    assert "without the pooled direction" in repr(projected_geometry)


def test_whitening_measures_in_units_of_the_spread():
    """Both categories share an axis of ten times the spread; whitened, it counts a tenth."""
    prompts = prompts_of(300)
    spread = torch.ones(8)
    spread[0] = 10.0
    resid = torch.randn(1200, 1, 8, generator=generator(0)) * spread
    resid[::2, 0, 0] += 10.0
    resid[:600:2, 0, 1] += 3.0
    resid[600::2, 0, 2] += 3.0
    residuals = residuals_of(resid, prompts)
    plain, white = (fit_geometry(residuals, frame=Frame(whitened=w)) for w in (False, True))
    assert plain.cosine("red", "blue", 1).value == pytest.approx(100 / 109, abs=0.02)
    assert white.cosine("red", "blue", 1).value == pytest.approx(1 / 10, abs=0.06)
    with pytest.raises(InputError, match="more than 8 degrees of freedom, found 8"):
        few = prompts.first(3)
        fit_geometry(residuals.only(prompts=few), frame=Frame(whitened=True))


def test_what_training_changed_is_the_difference_of_differences():
    prompts, before = prompts_of(60), some_residuals(60)
    after = before.clone()
    after[::2, 0, 5] += 4.0
    trained, control = (residuals_of(resid, prompts) for resid in (after, before))
    change = fit_geometry(trained, frame=Frame(minus=control))
    assert change.cosine("red", "blue", 1).value == pytest.approx(1.0, abs=1e-4)
    assert torch.allclose(change.length, torch.full((1, 2), 4.0), atol=1e-4)
    other = residuals_of(before[:-1], type(prompts)(prompts.prompts[:-1]))
    with pytest.raises(InputError, match="the control holds other prompts"):
        fit_geometry(trained, frame=Frame(minus=other))


def some_structure(sigma=0.05, n=20):
    c = block(0.8, 0.1)
    random = generator(5)
    sites = tuple(Site(s) for s in range(3))
    d = {
        f"c{i}": torch.stack([torch.zeros(n, 40, dtype=torch.float64), x, x], 1)
        for i, x in enumerate(draw(with_cosines(c), n, sigma, random))
    }
    residuals = with_differences({c: torch.stack([x, x], 1) for c, x in d.items()}, sites, (-2, -1))
    return fit_structure(residuals, 2), residuals


def test_structure_is_one_record(tmp_path):
    structure, residuals = some_structure()
    assert structure.dimension[0].value is None
    assert structure.dimension[1].value == pytest.approx(
        participation_ratio(block(0.8, 0.1)), abs=0.2
    )
    assert (
        structure.clusters == (1, 1, 1, 2, 2) and structure.mapped == residuals.labelled.categories
    )
    assert structure.rank == (1,) * 5
    assert (structure.layer_cosines[:, 1, 2, 0] > 0.999).all() and structure.layer_cosines[
        :, 0
    ].isnan().all()
    assert (
        structure.offset_cosines.shape == (5, 2, 2, 3)
        and (structure.offset_cosines[..., 0] > 0.999).all()
    )
    close = structure.least_angle[0, 1]
    assert float(close) == pytest.approx(math.degrees(math.acos(0.8)), abs=6)
    assert float(structure.random_least_angle[0, 1]) > 70
    assert "at layer 2: effective dimension 2." in repr(structure) and "2 clusters" in repr(
        structure
    )
    structure.save(tmp_path / "structure")
    again = type(structure).load(tmp_path / "structure")
    assert again.clusters == structure.clusters
    assert torch.equal(again.place_covariance, structure.place_covariance)
    for layer, words in ((0, "only 0 categories"), (7, "layer 7 is not in")):
        with pytest.raises(InputError, match=words):
            fit_structure(residuals, layer)

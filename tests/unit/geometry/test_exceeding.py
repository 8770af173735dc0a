"""Whether a category exceeds its control: the share, its sign flips, and how often they err."""

import itertools

import numpy as np
import pytest
import torch
from support.paired_residuals import PROVENANCE
from support.simulated import generator

from refusal_lens.errors import InputError
from refusal_lens.geometry import Geometry, PairProducts, compare_to_control, cosine_table
from refusal_lens.sites import Site

D = 60
PARTS = (
    *("naive", "corrected", "low", "high", "ceiling", "share", "influence"),
    *("reliability", "reliability_low", "reliability_high", "share_influence"),
)


def measured(by_site):
    """Geometry of pair differences by site, then category."""
    tables = [cosine_table(PairProducts.of(list(d))) for d in by_site]
    n = tuple(len(d) for d in by_site[0])
    names = tuple(f"c{k}" for k in range(len(n)))
    return Geometry(
        categories=names,
        sites=tuple(Site(s) for s in range(len(by_site))),
        offset=-1,
        n=n,
        pairs=tuple(f"{c}/{i}" for c, size in zip(names, n, strict=True) for i in range(size)),
        frame="as they are",
        length=torch.stack([t.sq_length for t in tables]).sqrt().float(),
        provenance=PROVENANCE,
        **{x: torch.stack([getattr(t, x) for t in tables]).float() for x in PARTS},
    )


def lengths(kind, n, random):
    """How much longer than usual each pair's difference, or its noise alone, is."""
    if kind == "outliers":
        return torch.where(torch.rand(n, 1, generator=random) < 0.1, 10.0, 1.0).double()
    if kind == "heavy":  # Student's t with two degrees of freedom
        chi = torch.randn(n, 2, generator=random, dtype=torch.float64).square()
        return (2 / chi.sum(1, keepdim=True)).sqrt()
    return torch.ones(n, 1, dtype=torch.float64)


def both(kind, n, share, control_share, random, *, sites=3, whole=False):
    """One category in a model and its control, by site: noise that both read to 90%, lengths of
    their own; `whole` pairs are longer, not their noise alone."""

    def noise():
        z = torch.randn(1 + sites, n, D, generator=random, dtype=torch.float64)
        return (z[:1] + 0.5 * z[1:]) / 1.25**0.5

    ours = noise()
    theirs = 0.9 * ours + 0.19**0.5 * noise()
    differences = []
    for z, common in ((ours, share), (theirs, control_share)):
        mu = torch.zeros(D, dtype=torch.float64)
        mu[0] = (common / (1 - common) * D) ** 0.5
        longer = lengths(kind, n, random)
        differences.append(longer * (mu + z) if whole else mu + longer * z)
    return differences


def p_values(kind, n, share, control_share, *, repeats, whole=False, seed=0, at_once=10):
    """p of a category and its control, drawn again and again; ten of them in one geometry."""
    random, p = generator(seed), []
    for k in range(0, repeats, at_once):
        drawn = [both(kind, n, share, control_share, random, whole=whole) for _ in range(at_once)]
        ours, theirs = (list(zip(*side, strict=True)) for side in zip(*drawn, strict=True))
        p.append(compare_to_control(measured(ours), measured(theirs), seed=k).p)
    return torch.cat(p)


def exceeding(kind, n, share, control_share, *, repeats, level):
    """How often the category is found beyond its control at a level."""
    return float(
        (p_values(kind, n, share, control_share, repeats=repeats) <= level).double().mean()
    )


def test_the_share_is_the_mean_cosine_of_two_pairs():
    d = both("outliers", 9, 0.3, 0.3, generator(1))[0][0]
    unit = d / d.norm(dim=1, keepdim=True)

    def share(rows):
        return np.mean([float(a @ b) for a, b in itertools.permutations(rows, 2)])

    table = cosine_table(PairProducts.of([d]))
    assert float(table.share[0]) == pytest.approx(share(unit))
    left = np.array([share(torch.cat([unit[:i], unit[i + 1 :]])) for i in range(9)])
    expected = (left.mean() - left) * (8 / 9) ** 0.5
    assert np.allclose(table.share_influence, expected)
    longer = d * torch.linspace(0.1, 9, 9, dtype=torch.float64)[:, None]
    assert torch.allclose(cosine_table(PairProducts.of([longer])).share, table.share)
    longer[3] = 0.0  # a pair that the model does not tell apart has nothing in common
    zero = cosine_table(PairProducts.of([longer])).share
    rest = share(torch.cat([unit[:3], unit[4:]]))
    assert float(zero[0]) == pytest.approx(rest * 8 * 7 / (9 * 8))


def test_p_is_that_of_all_flips_of_the_pseudo_values():
    ours, theirs = both("usual", 10, 0.12, 0.08, generator(2))
    comparison = compare_to_control(measured([[d] for d in ours]), measured([[d] for d in theirs]))

    def pseudo(d):
        unit = d / d.norm(dim=1, keepdim=True)
        gram = unit @ unit.T - torch.eye(10)
        whole = gram.sum() / 90
        return 10 * whole - 9 * (gram.sum() - 2 * gram.sum(1)) / 72

    x = torch.stack([pseudo(a) - pseudo(b) for a, b in zip(ours, theirs, strict=True)])
    assert torch.allclose(comparison.share[:, 0].double(), x.mean(1), atol=1e-6)
    flips = torch.tensor(list(itertools.product((1.0, -1.0), repeat=10)), dtype=torch.float64)
    t = (flips @ x.T) / x.square().sum(1).sqrt()
    exact = float((t.max(1).values >= t[0].max() - 1e-9).double().mean())
    assert 0.001 < exact < 0.9
    assert float(comparison.p[0]) == pytest.approx(
        exact, abs=4 * (exact * (1 - exact) / 9999) ** 0.5
    )
    assert (comparison.draws, comparison.seed) == (9999, 0)
    with pytest.raises(InputError, match="200 sign flips are too few"):
        compare_to_control(
            measured([[d] for d in ours]), measured([[d] for d in theirs]), draws=200
        )


def test_an_outlying_pair_makes_no_difference_certain_and_real_ones_are_found():
    """Both have share .1. Where lengths entered it, .05 to .1 of such categories were found at
    p <= .0045, which is what eleven categories ask of one."""
    assert exceeding("outliers", 20, 0.1, 0.1, repeats=100, level=0.0045) <= 0.03
    assert exceeding("usual", 20, 0.2, 0.1, repeats=10, level=0.0045) == 1


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("kind", "n", "share"),
    list(itertools.product(("usual", "outliers", "heavy"), (12, 20), (0.03, 0.1))),
)
def test_false_findings_are_held(kind, n, share, whole):
    """Binomial errors of 500 repeats: 1 point at .05, .3 at .0045; three of them."""
    p = p_values(kind, n, share, share, repeats=500, whole=whole, seed=3)
    assert (p <= 0.05).double().mean() <= 0.08
    assert (p <= 0.0045).double().mean() <= 0.0135


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("usual", 0.98), ("outliers", 0.4)])
def test_power_is_kept(kind, least):
    """With lengths, outliers left a tenth."""
    assert exceeding(kind, 20, 0.2, 0.1, repeats=100, level=0.0045) >= least

"""The mean cosine: equal to brute force, undefined where one is, and its interval covers."""

from dataclasses import replace

import pytest
import torch
from support.paired_residuals import prompts_of, residuals_of, some_residuals
from support.simulated import draw, generator, noise_scale
from support.synthetic.geometry import FROM, geometry

from refusal_lens.errors import InputError
from refusal_lens.geometry import Geometry, PairProducts, cosine_table, fit_geometry, mean_cosine
from refusal_lens.geometry.cosines import not_the_same_pairs
from refusal_lens.geometry.jackknife import jackknife_over_pairs
from refusal_lens.prompts import PromptSet
from refusal_lens.sites import Site

NAMES = ("a", "b", "c", "d")


def measured(differences: list[torch.Tensor]) -> Geometry:
    """Geometry of pair differences at one site."""
    table = cosine_table(PairProducts.of(differences))
    n = tuple(len(d) for d in differences)
    parts = {
        name: getattr(table, name)[None].float()
        for name in (
            *("naive", "corrected", "low", "high", "ceiling", "share", "influence"),
            *("reliability", "reliability_low", "reliability_high", "share_influence"),
        )
    }
    pairs = tuple(f"{name}-{i}" for name, k in zip(NAMES, n, strict=False) for i in range(k))
    return Geometry(
        categories=NAMES[: len(n)],
        sites=(Site(3),),
        offset=-1,
        n=n,
        pairs=pairs,
        frame="as they are",
        length=table.sq_length[None].sqrt().float(),
        provenance=FROM,
        **parts,
    )


def four(cosine: float) -> torch.Tensor:
    """Four unit vectors with one cosine between each two."""
    mu = torch.zeros(4, 60, dtype=torch.float64)
    mu[:, 0] = cosine**0.5
    mu[range(4), range(1, 5)] = (1 - cosine) ** 0.5
    return mu


def test_it_is_the_mean_with_the_jackknife_error_of_the_mean() -> None:
    drawn = draw(four(0.5), 12, 0.2, generator())
    chosen = [drawn[0], drawn[1][:9], drawn[3]]
    products = PairProducts.of(chosen)
    off = ~torch.eye(3, dtype=torch.bool)
    whole = products.estimate().corrected[0][off].mean()
    left = products.leave_one_out().corrected[:, off].mean(1)
    value, low, high = jackknife_over_pairs(whole, left, products)
    assert abs(float(value - whole)) > 1e-4
    e = mean_cosine(measured(chosen), 3)
    assert e.value == pytest.approx(float(value), abs=1e-6)
    assert e.high is not None and e.low is not None and e.n == 33
    assert e.high - e.low == pytest.approx(float(high - low), rel=1e-4)
    # A category that is not asked for has no part in it.
    most = mean_cosine(measured([*chosen, drawn[2]]), 3, NAMES[:3])
    assert (most.value, most.n) == (pytest.approx(e.value), 33)
    assert most.high == pytest.approx(e.high, abs=1e-5)


def test_the_interval_covers() -> None:
    """Binomial error of 200 repeats: 1.5 points at 95%; double counting makes it cautious."""
    random = generator(1)
    sigma = noise_scale(0.7, 30, 60)
    covered = 0
    for _ in range(200):
        e = mean_cosine(measured(draw(four(0.6), 30, sigma, random)), 3)
        assert e.low is not None and e.high is not None
        covered += e.low <= 0.6 <= e.high
    assert 0.91 <= covered / 200 <= 1


def test_the_control_is_of_the_same_categories() -> None:
    g, other = geometry(), geometry(seed=1)
    names = g.categories[2:6]
    e = mean_cosine(g, 13, names, other)
    assert e.control == mean_cosine(other, 13, names).value != mean_cosine(other, 13).value


def test_undefined_and_unknown() -> None:
    g = geometry()
    e = mean_cosine(g, 0)
    assert (e.value, e.low, e.high) == (None, None, None)
    one = replace(g, corrected=g.corrected.clone())
    one.corrected[13, 0, 1] = torch.nan
    assert mean_cosine(one, 13).value is None
    assert mean_cosine(one, 13, g.categories[2:]).value is not None
    for layer, names in ((99, None), (13, ("advice",)), (13, ("advice", "no such"))):
        with pytest.raises(InputError, match="two or more of"):
            mean_cosine(g, layer, names)


def test_pairs_are_the_same_by_what_they_ask() -> None:
    """Not by what else is in the set, nor by the names of splits."""
    prompts, resid = prompts_of(6), some_residuals(6)

    def fitted(rows: torch.Tensor, of: PromptSet) -> Geometry:
        residuals = residuals_of(rows, of)
        return fit_geometry(
            replace(residuals, provenance=replace(residuals.provenance, prompts_digest=of.digest))
        )

    first = fitted(resid, prompts)
    moved = PromptSet(tuple(replace(p, split="test") for p in prompts))
    more = prompts + PromptSet((replace(prompts.prompts[0], id="alone", pair=None),))
    same = fitted(resid, moved), fitted(torch.cat([resid, resid[:1]]), more)
    for second in same:
        assert first.provenance.prompts_digest != second.provenance.prompts_digest
        assert not_the_same_pairs(first, second) == ""
    reworded = PromptSet((replace(prompts.prompts[0], text="other"), *prompts.prompts[1:]))
    assert not_the_same_pairs(first, fitted(resid, reworded)) == "the prompts of their pairs"

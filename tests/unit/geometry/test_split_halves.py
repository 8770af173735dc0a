"""Agreement of halves: against the closed form, a known cosine, noise, and what is too little."""

from dataclasses import replace

import pytest
import torch
from support.paired_residuals import prompts_of, residuals_of, some_residuals
from support.simulated import generator

from refusal_lens.directions import Estimator, make_estimator, weighted_estimator
from refusal_lens.errors import InputError
from refusal_lens.geometry import fit_geometry
from refusal_lens.geometry.split_halves import fit_agreement
from refusal_lens.prompts import PromptSet


def some(n_pairs, d=12, seed=0):
    return residuals_of(some_residuals(n_pairs, d=d, seed=seed), prompts_of(n_pairs))


def tilted(cosine=0.8) -> Estimator:
    """The mean difference and a fixed vector, so that what it estimates has a known cosine to it.

    The planted differences are 3 long, and none has a part along the last axis.
    """
    plain = make_estimator("mean_difference")

    def fit(stats):
        fitted = plain(stats)
        turned = fitted.vectors * fitted.scale[..., None]
        turned[..., -1] += 3 * (1 / cosine**2 - 1) ** 0.5
        return replace(fitted, vectors=turned / turned.norm(dim=-1, keepdim=True))

    return Estimator("tilted", fit, from_sums=True)


def test_reliability_of_the_mean_difference_is_that_of_the_closed_form():
    """Many random halves, at 40 pairs of reliability about .9: within .03."""
    residuals = some(40)
    by_halves = fit_agreement(residuals, "mean_difference", splits=24, groups=3)
    exact = fit_geometry(residuals).reliability[0]
    assert by_halves.names == ("pooled", "red", "blue")
    assert by_halves.reliability[0].n == 80 and by_halves.reliability[1].n == 40
    for i in range(2):
        assert by_halves.reliability[1 + i].value == pytest.approx(float(exact[i]), abs=0.03)
    assert all(e.value == pytest.approx(1.0) for e in by_halves.cosine)
    assert all(x == pytest.approx(1.0) for x in by_halves.naive)


def test_a_known_cosine_is_recovered():
    """Both estimators share their errors; the corrected cosine is of what they estimate."""
    drawn = [
        fit_agreement(some(30, d=40, seed=seed), tilted(), splits=4, groups=3) for seed in range(4)
    ]
    values = [e.value for agreement in drawn for e in agreement.cosine[1:]]
    assert sum(values) / len(values) == pytest.approx(0.8, abs=0.04)


def test_noise_has_no_reliability():
    random = generator(5)
    residuals = residuals_of(torch.randn(160, 1, 60, generator=random), prompts_of(40))
    agreement = fit_agreement(residuals, "mean_difference", splits=4)
    for e in agreement.reliability:
        assert e.value is not None and abs(e.value) < 0.45
        assert e.low is not None and e.low < 0.1


@pytest.mark.slow
def test_intervals_cover_what_repeated_samples_give():
    """Nominal 95%; 40 samples, of which at least 33 must cover the mean of all."""
    drawn = [
        fit_agreement(some(16, d=30, seed=100 + s), "mean_difference").reliability[0]
        for s in range(40)
    ]
    truth = sum(e.value for e in drawn) / len(drawn)
    assert sum(e.low <= truth <= e.high for e in drawn) >= 33


def leaping(smooth: bool) -> Estimator:
    """The mean difference under another name, said to jump or not."""
    plain = make_estimator("mean_difference")
    return Estimator("leaping", plain.fit, from_sums=True, smooth=smooth)


def test_an_estimator_that_jumps_has_values_without_intervals():
    residuals = some(12)
    smooth, jumps = (fit_agreement(residuals, leaping(s)) for s in (True, False))
    for name in ("reliability", "cosine"):
        for a, b in zip(getattr(smooth, name), getattr(jumps, name), strict=True):
            assert a.low < a.value < a.high or a.value == pytest.approx(1.0)
            assert b.value == a.value and b.low is None and b.high is None and b.n == a.n
            assert "jumps where a pair is left out" in b.method and "jackknife over" in a.method
    against = fit_agreement(residuals, "mean_difference", reference=leaping(False))
    assert all(e.low is not None for e in against.reliability)
    assert all(e.value is not None and e.low is None for e in against.cosine)


def test_a_self_organising_map_has_no_intervals():
    agreement = fit_agreement(some(8, d=4), "som", splits=1, groups=3)
    assert all(e.value is not None for e in agreement.reliability)
    assert all(e.low is None for e in (*agreement.reliability, *agreement.cosine))


def test_pairs_are_never_parted_and_seeds_say_the_halves():
    """A pair's common offset cancels only if both of its prompts are in one half."""
    n = 12
    resid = some_residuals(n)
    offset = 50 * torch.randn(2 * n, 1, 12, generator=generator(3))
    shifted = resid + offset.repeat_interleave(2, dim=0)
    plain = fit_agreement(residuals_of(resid, prompts_of(n)), "mean_difference", seed=1)
    moved = fit_agreement(residuals_of(shifted, prompts_of(n)), "mean_difference", seed=1)
    for a, b in zip(plain.reliability, moved.reliability, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-3)
    again = fit_agreement(residuals_of(resid, prompts_of(n)), "mean_difference", seed=1)
    assert again.reliability == plain.reliability
    other = fit_agreement(residuals_of(resid, prompts_of(n)), "mean_difference", seed=2)
    assert other.reliability != plain.reliability


def test_too_little_is_said():
    residuals = some(10)
    kept = [p for p in residuals.labelled if p.category == "red" or int(p.pair[4:]) < 3]
    few = fit_agreement(residuals.only(prompts=PromptSet(tuple(kept))), "mean_difference")
    assert few.reliability[1].value is not None and few.reliability[2].value is None
    assert few.reliability[2].n == 3
    with pytest.raises(InputError, match="a category with at least 6 pairs"):
        fit_agreement(residuals.only(prompts=residuals.labelled.first(2)), "mean_difference")
    with pytest.raises(InputError, match=r"at one site and offset with 3 groups.*found 1 sites"):
        fit_agreement(residuals, "mean_difference", groups=2)


def test_two_weighted_estimators_of_one_name_are_two():
    residuals = some(16)
    rng, side = generator(3), {"refuse": 1.0, "comply": -1.0}

    def weighted() -> Estimator:
        drawn = torch.rand(len(residuals.labelled), generator=rng).tolist()
        confidence = zip(residuals.labelled, drawn, strict=True)
        return weighted_estimator({p.id: side[p.label] * x for p, x in confidence})

    a, b = weighted(), weighted()
    assert a.name == b.name
    apart = fit_agreement(residuals, a, reference=b, splits=4)
    alike = fit_agreement(residuals, a, reference=a, splits=4)
    assert alike.cosine[0].value == pytest.approx(1.0)
    assert alike.naive[0] == pytest.approx(1.0) and apart.naive[0] < 0.9999
    assert apart.cosine[0].value != pytest.approx(1.0, abs=1e-6)

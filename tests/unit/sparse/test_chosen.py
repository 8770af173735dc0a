"""What holds of chosen latents: controls of equal firing rate, direction, share, differences."""

import pytest
import torch
from support.sparse import orthonormal_sae

from refusal_lens.errors import InputError
from refusal_lens.sparse import (
    Pool,
    cosine_to,
    decoder_direction,
    equally_firing,
    measured_difference,
    paired_p,
    quality_of,
    rate_difference,
    removed_share,
)


def test_controls_fire_as_often_and_are_none_of_the_chosen():
    rate = torch.cat([torch.full((10,), 0.5), torch.full((30,), 0.1)])
    chosen = (0, 1, 20)
    drawn = [equally_firing(rate, chosen, excluded=(2, 3), seed=seed) for seed in range(20)]
    for draw in drawn:
        assert len(set(draw)) == 3 and not set(draw) & {0, 1, 20, 2, 3}
        assert rate[list(draw)].tolist() == rate[list(chosen)].tolist()
    assert len(set(drawn)) > 10 and drawn[0] == equally_firing(
        rate, chosen, excluded=(2, 3), seed=0
    )
    with pytest.raises(InputError, match="no control can be drawn"):
        equally_firing(rate[:3], (0, 1), seed=0)


def test_the_direction_of_latents_and_its_cosine():
    sae = orthonormal_sae()
    direction = decoder_direction(sae, (0, 3))
    expected = torch.zeros(16)
    expected[[0, 3]] = 0.5**0.5
    assert torch.allclose(direction, expected)
    made = cosine_to(torch.eye(16)[0], sae, (0, 3), [(1, 2), (0, 1)])
    assert made.value == pytest.approx(0.5**0.5) and made.control == pytest.approx(0.5**0.5)
    assert cosine_to(torch.eye(16)[0], sae, (0,), [(1,)]).control == 0.0


def test_the_share_that_zeroing_removes():
    sae = orthonormal_sae()
    resid = torch.zeros(4, 16)
    resid[:, 0], resid[:, 15] = 3.0, 4.0  # coordinate 15 is in no latent
    share = removed_share(sae, resid, (0,), [(1,), (2,)])
    assert share.value == pytest.approx(0.6) and share.control == 0.0 and share.n == 4


def test_differences_on_other_prompts():
    refused = torch.arange(40) < 20
    fires = torch.zeros(40, 4, dtype=torch.bool)
    fires[:, 0] = refused
    fires[:10, 1] = True
    fires[:, 2] = True
    made = measured_difference(Pool(fires, refused, ("a",) * 40), (0, 1), [(2,), (3,)])
    assert made.value == pytest.approx(0.75) and made.control == 0.0
    assert made.low < 0.75 < made.high
    nobody = measured_difference(Pool(fires, refused & False, ("a",) * 40), (0,), [])
    assert nobody.value is None and nobody.control is None


def test_newcombes_interval_and_mcnemars_p():
    """Newcombe 1998, table II, case (a): 56/70 - 48/80 = .2, [.0524, .3339]."""
    made = rate_difference(56, 70, 48, 80)
    assert (made.low, made.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert rate_difference(0, 0, 1, 2).value is None
    here = {str(i): i < 8 for i in range(10)}
    there = dict.fromkeys(here, False)
    assert paired_p(here, there) == pytest.approx(2 * 0.5**8)
    assert paired_p(here, here) == 1.0 and paired_p(here, {"x": True}) == 1.0


def test_quality_counts_variance_latents_and_the_dead():
    sae = orthonormal_sae()
    x = torch.zeros(6, 16)
    x[:3, 0], x[3:, 1] = 2.0, 2.0
    whole = quality_of(sae, x)
    assert whole.explained == pytest.approx(1.0) and whole.l0 == 1.0 and whole.dead == 10
    x[:, 15] = torch.tensor([1.0, -1, 1, -1, 1, -1])  # a third of the variance is in no latent
    assert quality_of(sae, x).explained == pytest.approx(2 / 3)


def test_a_difference_of_shares_stays_within_what_is_possible():
    refused = torch.arange(6) < 3
    fires = torch.stack([refused, refused], 1)
    fires[0, 0] = False
    made = measured_difference(Pool(fires, refused, ("a",) * 6), (0, 1), [])
    assert made.value == pytest.approx(5 / 6) and made.high == 1.0

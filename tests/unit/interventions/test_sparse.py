"""Ablating latents changes exactly their part and keeps the error."""

import pytest
import torch
from support.sparse import orthonormal_sae, random_sae

from refusal_lens.errors import InputError
from refusal_lens.interventions import AblateLatents, Reconstruct, check_sites
from refusal_lens.sites import Site


def test_a_known_latent_goes_and_nothing_else():
    sae = orthonormal_sae()
    x = torch.randn(5, 3, 16)
    edited = AblateLatents(sae, (2, 7))(x)
    expected = x.clone()
    expected[..., [2, 7]] = expected[..., [2, 7]].clamp(max=0)  # a latent is the positive part
    assert torch.allclose(edited, expected, atol=1e-6)
    assert torch.equal(edited[..., 12:], x[..., 12:])  # what no latent sees stays bit for bit


@pytest.mark.parametrize("kind", ["topk", "standard", "jumprelu", "gated"])
@pytest.mark.parametrize("norm", ["none", "layer_norm", "constant_norm_rescale"])
def test_it_is_decoding_without_the_latents_plus_the_error(kind, norm):
    sae = random_sae(8, 24, kind, normalisation=norm)
    x = 3 * torch.randn(6, 8) + 1
    chosen = sae.encode(x).sum(0).topk(3).indices
    z = sae.encode(x)
    zeroed = z.clone()
    zeroed[:, chosen] = 0
    error = x - sae.reconstruct(x)
    scale = (sae.reconstruct(x) - x + error).new_ones(6, 1)
    if norm == "layer_norm":
        scale = x.std(1, keepdim=True)
    if norm == "constant_norm_rescale":
        scale = x.norm(dim=1, keepdim=True) / 8**0.5
    without = sae.reconstruct(x) - ((z - zeroed) @ sae.w_dec) * scale
    edit = AblateLatents(sae, tuple(chosen.tolist()))
    assert torch.allclose(edit(x), without + error, atol=1e-4)
    assert float((edit(x) - x).norm()) > 0.1
    silent = (z.sum(0) == 0).nonzero()[:, 0].tolist()
    if silent:
        assert torch.equal(AblateLatents(sae, (silent[0],))(x), x)


def test_the_reconstruction_loses_what_no_latent_sees():
    sae = orthonormal_sae()
    x = torch.randn(4, 16)
    made = Reconstruct(sae)(x)
    assert torch.equal(made[:, 12:], torch.zeros(4, 4))
    assert torch.allclose(made[:, :12], x[:, :12].relu())


@pytest.mark.parametrize(
    "edit", [AblateLatents(orthonormal_sae(), (0,), 5.0), Reconstruct(orthonormal_sae(), 5.0)]
)
def test_vectors_that_are_too_long_are_left_alone(edit):
    x = torch.full((2, 16), 0.1)
    x[:, 0] = torch.tensor([1.0, 9.0])
    edited = edit(x)
    assert not torch.equal(edited[0], x[0]) and torch.equal(edited[1], x[1])
    assert "up to length 5" in repr(edit)


def test_it_acts_at_its_own_site_once():
    sae = orthonormal_sae()
    assert check_sites(AblateLatents(sae, (1,)), 4) == (Site(2),)
    with pytest.raises(InputError, match="beyond this model: its layers are 0 to 1"):
        check_sites(AblateLatents(sae, (1,)), 2)
    assert "12 latents at resid_pre[2]" in repr(AblateLatents(sae, (1,)))


def test_wrong_latents_are_one_line():
    sae = orthonormal_sae()
    for latents, message in (
        ((), "at least one latent, got none"),
        ((1, 1), "names a latent twice"),
        ((12,), "latent 12 is not in standard SAE of 12 latents"),
        ((True,), "latent 1 of 1 is True"),
    ):
        with pytest.raises(InputError, match=message):
            AblateLatents(sae, latents)

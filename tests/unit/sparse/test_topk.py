"""Training a top-k autoencoder: it finds a dictionary that is known."""

import pytest
import torch

from refusal_lens.errors import InputError
from refusal_lens.linalg import unit
from refusal_lens.sites import Site
from refusal_lens.sparse import TopKRecipe, quality_of, train_topk

D, TRUE = 24, 32


def data(n: int = 4096) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums of two of 32 known vectors, around a mean that is far away."""
    generator = torch.Generator().manual_seed(0)
    words = unit(torch.randn(TRUE, D, generator=generator))
    which = torch.stack([torch.randperm(TRUE, generator=generator)[:2] for _ in range(n)])
    sizes = 1 + torch.rand(n, 2, generator=generator)
    x = (words[which] * sizes[..., None]).sum(1) + 3.0
    return words, x


RECIPE = TopKRecipe(latents=48, k=2, epochs=12, batch=256, learning_rate=6e-3, dead_after=1024)


@pytest.fixture(scope="module")
def trained():
    steps = []
    words, x = data()
    return words, x, train_topk(x, Site(1), RECIPE, model_name="m", record=steps.append), steps


def test_it_finds_the_known_dictionary(trained):
    words, x, sae, steps = trained
    cosines = (unit(sae.w_dec) @ words.T).max(0).values
    assert (cosines > 0.95).float().mean() > 0.8
    quality = quality_of(sae, x)
    assert quality.explained > 0.9 and quality.l0 <= 2
    assert len(steps) == steps[-1].of == 12 * 16
    assert steps[-1].unexplained < 0.5 * steps[0].unexplained


def test_the_decoder_has_length_one_and_the_bias_begins_at_the_mean(trained):
    _, x, sae, _ = trained
    assert torch.allclose(sae.w_dec.norm(dim=1), torch.ones(48), atol=1e-5)
    assert sae.site == Site(1) and sae.model_name == "m" and sae.activation.k == 2
    untrained = train_topk(x, Site(1), TopKRecipe(latents=8, k=1, epochs=1, batch=4096, warmup=1.0))
    assert torch.allclose(untrained.b_dec, x.mean(0), atol=0.01)


def test_dead_latents_are_moved_by_the_auxiliary_loss_alone():
    """A latent among the k of no token has no other gradient."""
    _, x = data(256)
    few = {"latents": 256, "k": 1, "epochs": 3, "batch": 256, "dead_after": 1, "aux_k": 64}
    untrained = train_topk(x, Site(1), TopKRecipe(**(few | {"epochs": 1}), learning_rate=1e-12))
    moved = []
    for weight in (0.0, 1.0):
        sae = train_topk(x, Site(1), TopKRecipe(**few, aux_weight=weight))
        never = ((sae.encode(x) > 0) | (untrained.encode(x) > 0)).sum(0) == 0
        apart = (sae.w_enc - untrained.w_enc).abs().max(0).values
        moved.append(float((apart[never] > 1e-6).float().mean()))
    assert moved[0] < 0.2 < 0.5 < moved[1]


def test_one_seed_gives_one_autoencoder():
    _, x = data(512)
    small = TopKRecipe(latents=16, k=2, epochs=1, batch=128)
    one, again = (train_topk(x, Site(1), small).w_dec for _ in range(2))
    assert torch.equal(one, again)
    half = train_topk(x.half(), Site(1), small).w_dec
    assert torch.allclose(one, half, atol=0.02)


def test_wrong_recipes_are_one_line():
    with pytest.raises(InputError, match="k is 40; give a number from 1 to the 32 latents"):
        TopKRecipe(latents=32, k=40)
    with pytest.raises(InputError, match="5 tokens are fewer than one batch of 1024"):
        train_topk(torch.randn(5, D), Site(1))

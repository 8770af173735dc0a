"""Small sparse autoencoders, at random or with latents that are known."""

import torch

from refusal_lens.linalg import unit
from refusal_lens.sites import Site
from refusal_lens.sparse import Gated, JumpReLU, SparseAutoencoder, Standard, TopK


def random_sae(d_model: int, latents: int = 64, kind: str = "topk", **changes) -> SparseAutoencoder:
    """Random weights of any architecture, at the input of layer 2."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    w_dec = unit(draw(latents, d_model))
    activations = {
        "topk": lambda: TopK(0.1 * draw(latents), 4),
        "standard": lambda: Standard(0.1 * draw(latents)),
        "jumprelu": lambda: JumpReLU(0.1 * draw(latents), 0.5 + draw(latents).abs()),
        "gated": lambda: Gated(0.3 * draw(latents), 0.2 * draw(latents), 0.1 * draw(latents)),
    }
    values = {
        "site": Site(2),
        "w_enc": draw(d_model, latents),
        "activation": activations[kind](),
        "w_dec": w_dec,
        "b_dec": 0.2 * draw(d_model),
        "model_name": "tiny",
    }
    return SparseAutoencoder(**(values | changes))


def orthonormal_sae(d_model: int = 16, latents: int = 12) -> SparseAutoencoder:
    """Latent i is the positive part of coordinate i, and coordinates beyond are all error."""
    w_dec = torch.eye(d_model)[:latents]
    zeros = torch.zeros(latents)
    return SparseAutoencoder(
        Site(2), w_dec.T.contiguous(), Standard(zeros), w_dec, torch.zeros(d_model)
    )

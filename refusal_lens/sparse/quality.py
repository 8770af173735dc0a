"""How well an autoencoder gives vectors back, and how sparsely."""

from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.sparse.autoencoder import SparseAutoencoder

_ROWS: Final = 4096


@final
@dataclass(frozen=True)
class Quality:
    """Of `n` vectors: share of their variance in the reconstruction, latents per vector (L0), and
    latents that fire on none of them."""

    n: int
    explained: float
    l0: float
    dead: int
    n_latents: int

    def __str__(self) -> str:
        return (
            f"{self.explained:.1%} of variance, {self.l0:.1f} latents per token, {self.dead} of "
            f"{self.n_latents} dead (n = {self.n} tokens)"
        )


@torch.inference_mode()
def quality_of(sae: SparseAutoencoder, resid: Float[Tensor, "token d_model"]) -> Quality:
    """How well these vectors are given back; 1 minus squared error over squared distance from
    their mean.

    >>> quality_of(sae, torch.randn(8, sae.d_model)).n
    8
    """
    mean = resid.float().mean(0)
    fired = torch.zeros(sae.n_latents, dtype=torch.bool)
    error = spread = active = 0.0
    for part in resid.split(_ROWS):
        x = part.float()
        latents = sae.encode(x)
        error += float((x - sae.reconstruct(x)).square().sum())
        spread += float((x - mean).square().sum())
        active += float((latents > 0).sum())
        fired |= (latents > 0).any(0)
    n = len(resid)
    explained = 1 - error / spread if spread else float("nan")
    return Quality(n, explained, active / n, int((~fired).sum()), sae.n_latents)

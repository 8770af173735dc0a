"""Training a top-k sparse autoencoder on residuals (Gao et al. 2024, arXiv 2406.04093)."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from refusal_lens.arguments import check_seed
from refusal_lens.errors import InputError
from refusal_lens.linalg import unit
from refusal_lens.sites import Site
from refusal_lens.sparse.activations import TopK
from refusal_lens.sparse.autoencoder import SparseAutoencoder

_ADAM_EPSILON: Final = 6.25e-10
"""Gao et al.'s: gradients of a decoder with rows of length 1 are small."""


@final
@dataclass(frozen=True)
class TopKRecipe:
    """Size and hyperparameters of one training.

    A latent is dead while it has not been among the k of any token for `dead_after` tokens; the
    `aux_k` largest dead ones of a token learn to reconstruct what the live ones leave out, with
    weight `aux_weight`. The learning rate rises over `warmup` of the steps and falls over the last
    `decay` of them.
    """

    latents: int = 2048
    k: int = 32
    epochs: int = 5
    batch: int = 1024
    learning_rate: float = 1e-3
    warmup: float = 0.03
    decay: float = 0.3
    dead_after: int = 50_000
    aux_k: int = 256
    aux_weight: float = 1 / 32
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.latents:
            raise InputError(f"k is {self.k}; give a number from 1 to the {self.latents} latents")
        check_seed(self.seed)
        if min(self.epochs, self.batch) < 1:
            raise InputError(f"epochs {self.epochs} and batch {self.batch}; give 1 or more of each")


@final
@dataclass(frozen=True)
class TopKStep:
    """One optimiser step: the share of variance left over, and the dead latents."""

    step: int
    of: int
    unexplained: float
    dead: int


class _Parameters(nn.Module):
    """What is learned, on residuals of mean length sqrt(d_model)."""

    def __init__(self, mean: Float[Tensor, " d_model"], recipe: TopKRecipe) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(recipe.seed)
        w_dec = unit(torch.randn(recipe.latents, len(mean), generator=generator))
        self.w_dec = nn.Parameter(w_dec)
        self.w_enc = nn.Parameter(w_dec.T.clone().contiguous())
        self.b_enc = nn.Parameter(torch.zeros(recipe.latents))
        self.b_dec = nn.Parameter(mean.clone())

    @torch.no_grad()
    def keep_decoder_unit(self) -> None:
        """Rows of length 1 again, after a step."""
        self.w_dec.copy_(unit(self.w_dec))

    @torch.no_grad()
    def keep_gradient_across(self) -> None:
        """No gradient along the rows, which would be undone by keeping their length."""
        assert self.w_dec.grad is not None
        along = (self.w_dec.grad * self.w_dec).sum(-1, keepdim=True)
        self.w_dec.grad -= along * self.w_dec


def train_topk(
    resid: Float[Tensor, "token d_model"],
    site: Site,
    recipe: TopKRecipe = TopKRecipe(),
    *,
    model_name: str = "",
    record: Callable[[TopKStep], None] = lambda step: None,
) -> SparseAutoencoder:
    """A top-k autoencoder of these residuals (any float dtype), trained on the CPU in float32.

    Tokens are shuffled in every epoch. The decoder bias begins at the mean, the encoder as the
    decoder's transpose, and the decoder's rows keep length 1. The residuals are scaled to a mean
    length of sqrt(d_model) for training; what is returned takes them as they are.

    Raises:
        InputError: fewer tokens than one batch has.

    >>> sae = train_topk(torch.randn(64, 8), Site(1), TopKRecipe(latents=16, k=2, batch=32))
    >>> sae.n_latents, sae.activation.name
    (16, 'topk')
    """
    if len(resid) < recipe.batch:
        raise InputError(
            f"{len(resid)} tokens are fewer than one batch of {recipe.batch}; read more text"
        )
    mean, scale = _mean_and_scale(resid)
    learned = _Parameters(mean * scale, recipe)
    optimiser = torch.optim.Adam(learned.parameters(), recipe.learning_rate, eps=_ADAM_EPSILON)
    steps = recipe.epochs * (len(resid) // recipe.batch)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: _rate(i / steps, recipe))
    silent = torch.zeros(recipe.latents, dtype=torch.int64)
    variance = _variance(resid, mean) * scale**2
    for i, rows in enumerate(_batches(len(resid), recipe)):
        x = resid[rows].float() * scale
        loss, unexplained, fired = _loss(learned, x, silent > recipe.dead_after, variance, recipe)
        optimiser.zero_grad()
        loss.backward()
        learned.keep_gradient_across()
        optimiser.step()
        learned.keep_decoder_unit()
        schedule.step()
        silent = torch.where(fired, 0, silent + len(x))
        record(TopKStep(i + 1, steps, unexplained, int((silent > recipe.dead_after).sum())))
    return _finished(learned, scale, site, recipe.k, model_name)


def _loss(
    learned: _Parameters,
    x: Float[Tensor, "token d_model"],
    dead: Bool[Tensor, " latent"],
    variance: float,
    recipe: TopKRecipe,
) -> tuple[Tensor, float, Bool[Tensor, " latent"]]:
    """The loss of a batch, its share of variance left over, and which latents fired."""
    pre = (x - learned.b_dec) @ learned.w_enc + learned.b_enc
    latents = TopK(torch.zeros(recipe.latents), recipe.k)(pre)
    error = x - (latents @ learned.w_dec + learned.b_dec)
    unexplained = error.square().sum(-1).mean() / variance
    fired = (latents.detach() > 0).any(0)
    n_dead = int(dead.sum())
    if not n_dead or not recipe.aux_weight:
        return unexplained, float(unexplained.detach()), fired
    k = min(recipe.aux_k, n_dead)
    waking = TopK(torch.zeros(n_dead), k)(pre[:, dead])
    target = error.detach()
    missed = (target - waking @ learned.w_dec[dead]).square().sum() / target.square().sum()
    return unexplained + recipe.aux_weight * missed, float(unexplained.detach()), fired


def _batches(n: int, recipe: TopKRecipe) -> Iterator[Int64[Tensor, " token"]]:
    generator = torch.Generator().manual_seed(recipe.seed)
    for _ in range(recipe.epochs):
        order = torch.randperm(n, generator=generator)
        yield from order[: n - n % recipe.batch].split(recipe.batch)


def _rate(done: float, recipe: TopKRecipe) -> float:
    """Of the learning rate, after this share of the steps."""
    rising = done / recipe.warmup if recipe.warmup else 1.0
    falling = (1 - done) / recipe.decay if recipe.decay else 1.0
    return max(1e-3, min(1.0, rising, falling))


_ROWS: Final = 65_536
"""Tokens that are turned to float32 at a time."""


def _mean_and_scale(resid: Tensor) -> tuple[Float[Tensor, " d_model"], float]:
    """The mean, and what brings the mean length to sqrt(d_model)."""
    parts = [(p.float().sum(0).double(), p.float().norm(dim=-1).sum()) for p in resid.split(_ROWS)]
    mean = torch.stack([total for total, _ in parts]).sum(0) / len(resid)
    length = float(torch.stack([lengths for _, lengths in parts]).sum()) / len(resid)
    return mean.float(), math.sqrt(resid.shape[1]) / length


def _variance(resid: Tensor, mean: Float[Tensor, " d_model"]) -> float:
    """The mean squared distance from the mean."""
    return sum(float((p.float() - mean).square().sum()) for p in resid.split(_ROWS)) / len(resid)


def _finished(
    learned: _Parameters, scale: float, site: Site, k: int, model_name: str
) -> SparseAutoencoder:
    """What was learned, for residuals as they are: biases / scale, the weights unchanged.

    Latents are then in units of the residual stream, and the decoder's rows have length 1.
    """
    b_enc, b_dec = learned.b_enc.detach() / scale, learned.b_dec.detach() / scale
    w_enc, w_dec = learned.w_enc.detach(), learned.w_dec.detach()
    return SparseAutoencoder(site, w_enc, TopK(b_enc, k), w_dec, b_dec, model_name=model_name)

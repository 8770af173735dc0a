"""What is done with chosen latents: controls of equal firing rate, and the direction they span."""

from collections.abc import Sequence
from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.linalg import unit
from refusal_lens.records import Estimate
from refusal_lens.sparse.autoencoder import SparseAutoencoder
from refusal_lens.sparse.firing import Pool

_NEAREST: Final = 8
"""Latents among which each control is drawn, at most: those of the nearest firing rate."""
_CLOSE: Final = 0.02
"""How far rates may be apart where the nearest is no farther."""


def equally_firing(
    rate: Float[Tensor, " latent"],
    latents: tuple[int, ...],
    *,
    excluded: tuple[int, ...] = (),
    seed: int,
) -> tuple[int, ...]:
    """For each latent another one, drawn among those that fire about as often; none twice.

    >>> rate = torch.tensor([0.5, 0.5, 0.1, 0.1])
    >>> equally_firing(rate, (0,), excluded=(2, 3), seed=0)
    (1,)

    Raises:
        InputError: fewer others than latents.
    """
    generator = torch.Generator().manual_seed(seed)
    free = sorted(set(range(len(rate))) - {*latents} - {*excluded})
    if len(free) < len(latents):
        raise InputError(
            f"{len(free)} other latents for {len(latents)} chosen ones: no control can be drawn"
        )
    drawn: list[int] = []
    for latent in latents:
        apart = {i: abs(float(rate[i] - rate[latent])) for i in free}
        near = sorted(free, key=lambda i: (apart[i], i))[:_NEAREST]
        near = [i for i in near if apart[i] <= max(_CLOSE, apart[near[0]])]
        drawn.append(near[int(torch.randint(len(near), (1,), generator=generator))])
        free.remove(drawn[-1])
    return tuple(drawn)


def decoder_direction(
    sae: SparseAutoencoder, latents: tuple[int, ...]
) -> Float[Tensor, " d_model"]:
    """The mean of the latents' decoder rows, each of length 1 (Joad et al. 2026), of length 1.

    >>> float(decoder_direction(sae, (0, 1)).norm())
    1.00
    """
    return unit(unit(sae.w_dec[list(latents)]).mean(0))


def cosine_to(
    vector: Float[Tensor, " d_model"],
    sae: SparseAutoencoder,
    latents: tuple[int, ...],
    controls: Sequence[tuple[int, ...]],
) -> Estimate:
    """Cosine of the direction made of latents with a unit vector; the control is the largest in
    size over the draws of other latents.

    >>> made = decoder_direction(sae, (0, 1))
    >>> cosine_to(made, sae, (0, 1), [(2, 3)]).value
    1.00
    """
    cosine = float(decoder_direction(sae, latents) @ vector)
    others = [float(decoder_direction(sae, draw) @ vector) for draw in controls]
    method = f"cosine; control: the largest of {len(others)} draws"
    return Estimate(cosine, None, None, len(latents), method, max(others, key=abs, default=None))


def removed_share(
    sae: SparseAutoencoder,
    resid: Float[Tensor, "prompt d_model"],
    latents: tuple[int, ...],
    controls: Sequence[tuple[int, ...]],
) -> Estimate:
    """How much of each vector goes when latents are zeroed, as a share of its length: mean over
    vectors; the control is the mean over the draws of other latents.

    >>> removed_share(sae, torch.randn(4, sae.d_model), (0, 1), [(2, 3)]).n
    4
    """

    def shares(chosen: tuple[int, ...]) -> Float[Tensor, " prompt"]:
        part = sae.contribution(resid, torch.tensor(chosen))
        return part.norm(dim=-1) / resid.norm(dim=-1)

    others = [float(shares(draw).mean()) for draw in controls]
    control = sum(others) / len(others) if others else None
    return mean_estimate(shares(latents).tolist(), control)


def measured_difference(
    pool: Pool, latents: tuple[int, ...], controls: Sequence[tuple[int, ...]]
) -> Estimate:
    """P(z > 0 | refused) - P(z > 0 | answered), mean over latents; the control is the mean over the
    draws of other latents.

    The interval is over prompts, of which each counts with the share of the latents that fire on
    it; it is undefined with fewer than two prompts on a side.

    >>> refused = torch.arange(8) < 4
    >>> pool = Pool(torch.stack([refused, ~refused], dim=1), refused, ("advice",) * 8)
    >>> made = measured_difference(pool, (0,), [(1,)])
    >>> made.value, made.control
    (1.0, -1.0)
    """
    share = pool.fires[:, list(latents)].float().mean(1)
    sides = [mean_estimate(share[rows].tolist()) for rows in (pool.refused, ~pool.refused)]
    drawn = [latent for draw in controls for latent in draw]
    control = float((pool.refused_rate - pool.answered_rate)[drawn].mean()) if drawn else None
    method = "difference of mean shares, from both sides' t intervals"
    (a, b), n = sides, len(share)
    if a.value is None or b.value is None or a.high is None or b.high is None:
        return Estimate(None, None, None, n, method, control)
    half = ((a.high - a.value) ** 2 + (b.high - b.value) ** 2) ** 0.5
    value = a.value - b.value
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), n, method, control)

"""How much of a difference of means is signal, and what that does to cosines, from sums alone.

Streamed statistics give all of it in closed form at every layer and offset; intervals need the
pairs themselves (geometry/jackknife.py).
"""

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.directions.mean_difference import above_noise
from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.residuals import ResidualStats


def unbiased_sq_length(stats: ResidualStats) -> Float64[Tensor, "category offset site"]:
    """U: the squared length of the true difference of means, without the part that is noise.

    Paired: the mean of d_i . d_j over i != j, that is (|S|^2 - sum |d_i|^2) / (n (n - 1)).
    Unpaired: |m_r - m_c|^2 - tr(S_r)/n_r - tr(S_c)/n_c, with the unbiased covariances S.
    May be negative where there is no signal. NaN with fewer than two pairs, or than two prompts
    on a side.

    >>> stats = model.residual_stats(prompts, offsets=(-1,))
    >>> unbiased_sq_length(stats).shape  # category, offset, site
    torch.Size([3, 1, 3])
    """
    sq_length = stats.difference.square().sum(-1)
    n = stats.n_pairs.double()[:, None, None]
    by_pairs = (n.square() * sq_length - stats.pair_sq) / (n * (n - 1))
    by_sides = sq_length - _noise(stats)[:, REFUSE] - _noise(stats)[:, COMPLY]
    paired = torch.tensor(stats.paired)[:, None, None]
    value = torch.where(paired, by_pairs, by_sides)
    return torch.where(torch.isfinite(value), value, torch.nan)


def reliability(stats: ResidualStats) -> Float64[Tensor, "category offset site"]:
    """U / |mean d|^2: the exact limit of many split halves with Spearman-Brown; 1 is no noise.

    May be negative where there is no signal; NaN where the direction is undefined.

    >>> stats = model.residual_stats(prompts, offsets=(-1,))
    >>> bool(reliability(stats)[:, 0, 2].max() <= 1)
    True
    """
    sq_length = stats.difference.square().sum(-1)
    return unbiased_sq_length(stats) / torch.where(above_noise(stats), sq_length, torch.nan)


def corrected_cosines(
    stats: ResidualStats,
) -> Float64[Tensor, "offset site category category"]:
    """mean d_a . mean d_b / sqrt(U_a U_b), 1 on the diagonal; NaN where undefined.

    Consistent where the categories' errors are independent: never with a shared benign pool.

    >>> stats = model.residual_stats(prompts, offsets=(-1,))
    >>> corrected_cosines(stats).shape  # offset, site, category, category
    torch.Size([1, 3, 3, 3])
    """
    defined = torch.where(above_noise(stats), unbiased_sq_length(stats), torch.nan)
    length = torch.where(defined > 0, defined, torch.nan).sqrt()
    dots = torch.einsum("cosd,eosd->osce", stats.difference, stats.difference)
    cosines = dots / torch.einsum("cos,eos->osce", length, length)
    diagonal = torch.where(cosines.diagonal(dim1=-2, dim2=-1).isnan(), torch.nan, 1.0)
    return cosines.diagonal_scatter(diagonal.to(cosines), dim1=-2, dim2=-1)


def ceilings(stats: ResidualStats) -> Float64[Tensor, "offset site category category"]:
    """sqrt(rel_a rel_b): what noise leaves of a naive cosine of 1. NaN where undefined.

    >>> stats = model.residual_stats(prompts, offsets=(-1,))
    >>> ceilings(stats).shape  # offset, site, category, category
    torch.Size([1, 3, 3, 3])
    """
    rel = reliability(stats)
    root = torch.where(rel > 0, rel, torch.nan).sqrt()
    return torch.einsum("cos,eos->osce", root, root)


def _noise(stats: ResidualStats) -> Float64[Tensor, "category label offset site"]:
    """tr(S)/n of each side: the expected squared error of its mean."""
    n = stats.count.double()[:, :, None, None]
    scatter = stats.sq_norm - n * stats.mean.square().sum(-1)
    return scatter / (n * (n - 1))

"""Matched twins against one shared benign pool: what the published design does to cosines.

Published directions of different categories are often measured against one pool of benign prompts
(Joad et al. 2026 share one among ten of eleven). Let m_a be the mean of category a's refuse side,
t_a that of its own twins, p that of the pool, hats for sample means, n_p the pool's size. Then

    E[(m^_a - p^) . (m^_b - p^)] = (m_a - p) . (m_b - p) + tr(cov_p) / n_p

because p^ enters both with the same error. The second term is *shared noise*: never negative, the
same for every pair of categories, and gone as n_p grows. What is left,

    (m_a - p) . (m_b - p) - (m_a - t_a) . (m_b - t_b),

is the *common reference*: both differences now also hold the way from the twins to the pool, with
t_a - p and t_b - p, which may point anywhere. It has either sign and stays however large the pool.
As cosines:

    shared noise      = naive-numerator cosine with the pool - the same with tr(cov_p)/n_p taken off
    common reference  = corrected cosine with the pool - corrected cosine with twins

both over noise-free lengths, so that neither mixes with the other's. Cosines are less their
jackknife bias (geometry/jackknife.py).
"""

from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry.groups import Contrasts, Groups, Member, contrast_table
from refusal_lens.records import Provenance, Record
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site


@final
@dataclass(frozen=True, eq=False)
class SharedPool(Record):
    """Corrected cosines with matched twins and with one pool, and what sets the two apart.

    The pool is the comply side of the category `pool`. `pooled` has the shared noise taken off;
    `shared_noise` is what it would add, `reference` is pooled minus matched. `n` counts prompts per
    side, `n_pool` those of the pool.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    categories: tuple[str, ...]
    sites: tuple[Site, ...]
    offset: int
    pool: str
    n: tuple[int, ...]
    n_pool: int
    matched: Float[Tensor, "site category category"]
    pooled: Float[Tensor, "site category category"]
    pooled_low: Float[Tensor, "site category category"]
    pooled_high: Float[Tensor, "site category category"]
    shared_noise: Float[Tensor, "site category category"]
    reference: Float[Tensor, "site category category"]
    provenance: Provenance

    def __repr__(self) -> str:
        return (
            f"SharedPool({len(self.categories)} categories against the {self.n_pool} comply-side "
            f"prompts of {self.pool!r}, {len(self.sites)} sites, {self.provenance.model})"
        )


def fit_shared_pool(
    residuals: Residuals,
    pool: str,
    *,
    sites: tuple[Site, ...] | None = None,
    offset: int = -1,
) -> SharedPool:
    """Each category measured against its own twins and against the comply side of `pool`.

    >>> fit_shared_pool(model.residuals(prompts), pool="advice").n_pool
    6

    Raises:
        InputError: an unknown category, residuals of plain texts, or a side with fewer than three
            prompts.
    """
    prompts = residuals.labelled
    if pool not in prompts.categories:
        raise InputError(f"the pool's category {pool!r} is not in {list(prompts.categories)}")
    sides: dict[str, list[Member]] = {
        f"{c}/{label}": [
            (p.unit, i) for i, p in enumerate(prompts) if (p.category, p.label) == (c, label)
        ]
        for c in prompts.categories
        for label in ("refuse", "comply")
    }
    chosen = residuals.sites if sites is None else sites
    tables: list[tuple[Contrasts, Contrasts]] = []
    for site in chosen:
        groups = Groups.of(sides, residuals.at(site, offset).double())
        tables.append(
            (
                contrast_table(groups, _against_twins(prompts.categories)),
                contrast_table(groups, _against_pool(prompts.categories, pool)),
            )
        )

    def stacked(values: list[Tensor]) -> Tensor:
        return torch.stack(values).float()

    return SharedPool(
        categories=prompts.categories,
        sites=chosen,
        offset=offset,
        pool=pool,
        n=tuple(len(sides[f"{c}/refuse"]) for c in prompts.categories),
        n_pool=len(sides[f"{pool}/comply"]),
        matched=stacked([twins.corrected for twins, _ in tables]),
        pooled=stacked([pooled.corrected for _, pooled in tables]),
        pooled_low=stacked([pooled.low for _, pooled in tables]),
        pooled_high=stacked([pooled.high for _, pooled in tables]),
        shared_noise=stacked([_shared_noise(pooled) for _, pooled in tables]),
        reference=stacked([pooled.corrected - twins.corrected for twins, pooled in tables]),
        provenance=residuals.provenance,
    )


def _shared_noise(pooled: Contrasts) -> Float64[Tensor, "category category"]:
    """Over noise-free lengths, what the noise of the pool adds to each cosine."""
    u = pooled.unbiased.diagonal()
    length = torch.where(u > 0, u, torch.nan).sqrt()
    added = (pooled.products - pooled.unbiased) / torch.outer(length, length)
    return added.fill_diagonal_(0.0)


def _against_twins(categories: tuple[str, ...]) -> Float64[Tensor, "contrast group"]:
    matrix = torch.zeros(len(categories), 2 * len(categories), dtype=torch.float64)
    for i in range(len(categories)):
        matrix[i, 2 * i], matrix[i, 2 * i + 1] = 1.0, -1.0
    return matrix


def _against_pool(categories: tuple[str, ...], pool: str) -> Float64[Tensor, "contrast group"]:
    matrix = torch.zeros(len(categories), 2 * len(categories), dtype=torch.float64)
    for i in range(len(categories)):
        matrix[i, 2 * i] = 1.0
    matrix[:, 2 * categories.index(pool) + 1] -= 1.0
    return matrix

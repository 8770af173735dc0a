"""Separable or not: sign flips within pairs, over all layers and offsets, for all categories.

Where the two sides of a pair are exchangeable, the sign of its difference is a coin. The statistic
at one site and offset is

    z = sum_{i != j} d_i . d_j / sqrt(2 sum_{i != j} (d_i . d_j)^2)

of mean 0 and variance 1 under all sign flips, whatever the spread of the differences, so that
layers can be compared. The category's p is that of its maximum over sites and offsets, by the same
flips everywhere (Westfall & Young 1993): p = (b + 1) / (B + 1), b counting the flips whose maximum
is as large. Over categories the false discovery rate is controlled (Benjamini & Hochberg 1995).

Separable says that the prompts of the two sides differ in the stream. That is no refusal yet: a
base model shows it too (geometry/comparison.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry.frame import twin_differences
from refusal_lens.intervals import benjamini_hochberg
from refusal_lens.records import Provenance, Record
from refusal_lens.residuals import Residuals, check_read_alike, pair_rows
from refusal_lens.sites import Site

DRAWS: Final = 9_999
SEPARABLE: Final = 0.05  # largest q at which a category is called separable


@final
@dataclass(frozen=True, eq=False)
class Separability(Record):
    """Sign-flip tests of every category at every offset and site.

    `z` is the statistic, NaN where undefined; `p_max` its p against the maximum over all sites and
    offsets; `p` is the category's p and `q` what it is after Benjamini-Hochberg over categories
    (NaN, undefined, where it has no defined site). `n` counts pairs, `draws` the sign flips.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    categories: tuple[str, ...]
    sites: tuple[Site, ...]
    offsets: tuple[int, ...]
    n: tuple[int, ...]
    draws: int
    seed: int
    z: Float[Tensor, "category offset site"]
    p_max: Float[Tensor, "category offset site"]
    p: Float[Tensor, " category"]
    q: Float[Tensor, " category"]
    provenance: Provenance

    def separable(self, category: str) -> bool:
        """Whether the category's q is at most .05.

        Raises:
            InputError: a category that was not tested.
        """
        if category not in self.categories:
            raise InputError(f"category {category!r} is not in {list(self.categories)}")
        return bool(self.q[self.categories.index(category)] <= SEPARABLE)

    def __repr__(self) -> str:
        n_separable = sum(self.separable(c) for c in self.categories)
        return (
            f"Separability({n_separable} of {len(self.categories)} categories separable, "
            f"{len(self.sites)} sites, offsets {list(self.offsets)}, {self.draws} sign flips, "
            f"{self.provenance.model})"
        )


def separability(
    residuals: Residuals | Iterable[Residuals], *, draws: int = DRAWS, seed: int = 0
) -> Separability:
    """Test the pair differences of each category at every site and offset of `residuals`.

    Several residuals of different categories may be given in place of one: they are taken one after
    the other, so that no more than one need be in memory. A difference that is zero at a site and
    offset, or rounding noise, is undefined.

    >>> tests = separability(model.residuals(prompts))
    >>> tests.z.shape  # category, offset, site
    torch.Size([3, 1, 3])

    Raises:
        InputError: fewer flips than 9,999, residuals of plain texts or of different sites or
            offsets, fewer than three pairs, or a value that is not finite.
    """
    if draws < DRAWS:
        raise InputError(f"{draws} sign flips are too few; give at least {DRAWS}")
    parts = [residuals] if isinstance(residuals, Residuals) else residuals
    counts: dict[str, int] = {}
    tests: list[tuple[Tensor, Tensor, Tensor]] = []
    axes: list[tuple[tuple[Site, ...], tuple[int, ...], Provenance]] = []
    for part in parts:
        axes.append((part.sites, part.offsets, part.provenance))
        if axes[-1][:2] != axes[0][:2] or counts.keys() & {*part.labelled.categories}:
            raise InputError(
                "residuals tested together must be of other categories at one set of "
                "sites and offsets"
            )
        check_read_alike(
            axes[0][2], part.provenance, "residuals of two models can't be tested together"
        )
        for name in part.labelled.categories:
            d = _differences(part.only(category=name), name)
            gram = torch.einsum("iosd,josd->osij", d, d)
            generator = torch.Generator().manual_seed(seed + len(counts))
            tests.append(_tested(gram, draws, generator))
            counts[name] = len(d)
    if not tests:
        raise InputError("no residuals to test; expected those of one category or more")
    z, p_max, p = (torch.stack(x) for x in zip(*tests, strict=True))
    digest = "+".join(made.prompts_digest for _, _, made in axes)
    return Separability(
        categories=tuple(counts),
        sites=axes[0][0],
        offsets=axes[0][1],
        n=tuple(counts.values()),
        draws=draws,
        seed=seed,
        z=z.float(),
        p_max=p_max.float(),
        p=p.float(),
        q=benjamini_hochberg(p).float(),
        provenance=replace(axes[0][2], prompts_digest=digest),
    )


def _differences(residuals: Residuals, name: str) -> Float64[Tensor, "pair offset site d_model"]:
    d = twin_differences(residuals.tensor.double(), pair_rows(residuals.labelled))
    if len(d) < 3 or not bool(torch.isfinite(d).all()):
        raise InputError(
            f"category {name!r}: {len(d)} pairs, of which at least 3 are needed, all finite "
            "(float16 overflows: load the model in bfloat16 or float32)"
        )
    return d


def _tested(
    gram: Float64[Tensor, "offset site pair pair"], draws: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """z and p against the maximum at each offset and site, and p of the maximum."""
    n = gram.shape[-1]
    products = (gram * (1 - torch.eye(n))).flatten(0, 1)  # no product of a pair with itself
    spread = (2 * products.square().sum((-2, -1))).sqrt()
    defined = spread > 0
    z = torch.where(defined, products.sum((-2, -1)) / spread, torch.nan)
    p_max = torch.full_like(z, torch.nan)
    p = torch.tensor(torch.nan, dtype=torch.float64)
    if bool(defined.any()):
        signs = torch.randint(2, (draws, n), generator=generator).double() * 2 - 1
        most = torch.full((draws,), -torch.inf, dtype=torch.float64)
        for cell, scale in zip(products[defined], spread[defined], strict=True):
            most = torch.maximum(most, ((signs @ cell) * signs).sum(1) / scale)
        # As large up to rounding: a flip of all signs is the data itself.
        as_large = most[None] >= z[defined, None] - 1e-9
        p_max[defined] = (as_large.sum(1).double() + 1) / (draws + 1)
        p = p_max[defined].min()
    return z.reshape(gram.shape[:2]), p_max.reshape(gram.shape[:2]), p

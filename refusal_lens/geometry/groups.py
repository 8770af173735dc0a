"""Directions between groups of prompts that need not be pairs, and whose errors may be shared.

A contrast is the mean of one group minus the mean of another. Two contrasts may share a group, as
harmful-refused minus benign-complied and harmful-refused minus harmful-complied do, or all
categories that are measured against one benign pool. The mean of a shared group enters both with
one and the same error e, and e . e = tr(covariance)/n, always positive, is added to their inner
product. It is taken off here: with contrasts k, l of coefficients c_kg,

    I_kl = v_k . v_l - sum_g c_kg c_lg tr(S_g) / n_g
                     - sum_{g != h} c_kg c_lh n_gh / (n_g n_h) tr(S_gh)

where S_g is the covariance within group g, and S_gh that between the groups' members of the same
pair (n_gh pairs have a member in both). For twins this is the U of geometry/products.py. The
corrected cosine is I_kl / sqrt(I_kk I_ll) less its jackknife bias (geometry/jackknife.py); bias and
variance are those of a jackknife that leaves out one pair at a time, whole.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.intervals import jackknife

Member = tuple[Hashable, int]
"""A prompt's unit, which prompts of one pair share (`Prompt.unit`), and its row."""
LEAST: Final = 3  # members of a group: fewer give no covariance once one is left out


@final
@dataclass(frozen=True, eq=False)
class Groups:
    """Vectors by unit and group; a unit (a pair of prompts) may have a member in several groups.

    `member[u, g]` is 1 where unit u has a member in group g, whose vector is `x[u, g]`, else 0.
    """

    names: tuple[str, ...]
    x: Float64[Tensor, "unit group d_model"]
    member: Float64[Tensor, "unit group"]

    @classmethod
    def of(
        cls,
        groups: Mapping[str, Sequence[Member]],
        resid: Float64[Tensor, "prompt d_model"],
    ) -> "Groups":
        """Groups of (unit, row of `resid`): prompts of one pair carry the pair as their unit.

        Raises:
            InputError: a group with fewer than three members, or two of one unit.
        """
        units = {
            u: i for i, u in enumerate(dict.fromkeys(u for g in groups.values() for u, _ in g))
        }
        x = torch.zeros(len(units), len(groups), resid.shape[1], dtype=torch.float64)
        member = torch.zeros(len(units), len(groups), dtype=torch.float64)
        for g, (name, rows) in enumerate(groups.items()):
            if len(rows) < LEAST:
                raise InputError(
                    f"group {name!r} has {len(rows)} prompts; at least {LEAST} are needed"
                )
            place = [units[u] for u, _ in rows]
            if len(set(place)) < len(place):
                raise InputError(f"group {name!r} holds two prompts of one pair")
            x[place, g] = resid[[row for _, row in rows]].double()
            member[place, g] = 1.0
        centre = x.sum((0, 1)) / member.sum()  # contrasts don't see it; rounding does
        return cls(tuple(groups), (x - centre) * member[..., None], member)

    @property
    def n(self) -> tuple[int, ...]:
        """Members of each group."""
        return tuple(int(k) for k in self.member.sum(0))


@final
@dataclass(frozen=True, eq=False)
class Contrasts:
    """Cosines between contrasts. NaN: undefined. `products` is v_k . v_l, `unbiased` is I_kl."""

    products: Float64[Tensor, "contrast contrast"]
    unbiased: Float64[Tensor, "contrast contrast"]
    naive: Float64[Tensor, "contrast contrast"]
    corrected: Float64[Tensor, "contrast contrast"]
    low: Float64[Tensor, "contrast contrast"]
    high: Float64[Tensor, "contrast contrast"]
    reliability: Float64[Tensor, " contrast"]


def contrast_table(groups: Groups, coefficients: Float64[Tensor, "contrast group"]) -> Contrasts:
    """Cosines of all contrasts, corrected for noise that they share and for noise of their own.

    Raises:
        InputError: a contrast whose coefficients don't sum to 0.
    """
    if not bool((coefficients.sum(1).abs() < 1e-12).all()):
        raise InputError("the coefficients of a contrast must sum to 0: a mean minus a mean")
    sums = _Sums.of(groups)
    products, unbiased = sums.inner(coefficients)
    _, left = sums.without_each(groups).inner(coefficients)
    corrected, low, high = jackknife(_over_lengths(unbiased, unbiased), _over_lengths(left, left))
    for bound in (low, high):  # a contrast's cosine with itself is known
        bound.diagonal().copy_(corrected.diagonal())
    return Contrasts(
        products=products,
        unbiased=unbiased,
        naive=_over_lengths(products, products),
        corrected=corrected,
        low=low,
        high=high,
        reliability=unbiased.diagonal() / products.diagonal(),
    )


@final
@dataclass(frozen=True, eq=False)
class _Sums:
    """Products of sums: all that inner products of contrasts need, for one draw or many.

    `total` is S_g . S_h over all members, `both` the same over units in both groups (n_gh of
    them, `n_both`), and `within` sums x_ug . x_uh.
    """

    n: Float64[Tensor, "... group"]
    n_both: Float64[Tensor, "... group group"]
    total: Float64[Tensor, "... group group"]
    both: Float64[Tensor, "... group group"]
    within: Float64[Tensor, "... group group"]

    @classmethod
    def of(cls, groups: Groups) -> "_Sums":
        sums = groups.x.sum(0)
        of_both = _sums_of_both(groups)
        return cls(
            n=groups.member.sum(0),
            n_both=groups.member.T @ groups.member,
            total=sums @ sums.T,
            both=(of_both * of_both.transpose(0, 1)).sum(-1),
            within=torch.einsum("ugd,uhd->gh", groups.x, groups.x),
        )

    def without_each(self, groups: Groups) -> "_Sums":
        """The sums without each unit in turn."""
        x, member = groups.x, groups.member
        within = torch.einsum("ugd,uhd->ugh", x, x)
        with_total = torch.einsum("ugd,hd->ugh", x, x.sum(0))
        # x_ug . (sum of h over units that are also in g), where the unit is in both
        with_both = torch.einsum("ugd,hgd->ugh", x, _sums_of_both(groups)) * member[:, None, :]
        return _Sums(
            n=self.n - member,
            n_both=self.n_both - member[:, :, None] * member[:, None, :],
            total=self.total - with_total - with_total.mT + within,
            both=self.both - with_both - with_both.mT + within,
            within=self.within - within,
        )

    def inner(self, coefficients: Tensor) -> tuple[Tensor, Tensor]:
        """v_k . v_l as it is, and without the noise that both share."""
        counts = self.n[..., :, None] * self.n[..., None, :]
        around = self.within - self.both / self.n_both.clamp(min=1)
        trace = torch.where(self.n_both > 1, around / (self.n_both - 1).clamp(min=1), 0.0)
        products = coefficients @ (self.total / counts) @ coefficients.T
        shared = coefficients @ (self.n_both / counts * trace) @ coefficients.T
        return products, products - shared


def _sums_of_both(groups: Groups) -> Float64[Tensor, "group group d_model"]:
    """At [g, h]: the sum of g's members over the units that are also in h."""
    return torch.einsum("ugd,uh->ghd", groups.x, groups.member)


def _over_lengths(products: Tensor, squares: Tensor) -> Tensor:
    sq = squares.diagonal(dim1=-2, dim2=-1)
    length = torch.where(sq > 0, sq, torch.nan).sqrt()
    return products / (length[..., :, None] * length[..., None, :])

"""The same pairs in a control model, to tell refusal from content: differences with intervals.

A category's directions in two models are compared by its *share*: the mean cosine between the
differences of two different pairs. It has no unit, does not depend on the number of pairs, and each
pair counts alike: where a length entered (as in U / mean |d_i|^2, which is the same where all pairs
are as long), one outlying pair in the control would make its share small and certain.

The same prompts went through both models, so each pair's influence on the one number is taken from
its influence on the other. With s the difference of shares and h_i that of influences,

    x_i = s + sqrt(n (n - 1)) h_i      pseudo-values: mean s, standard error that of the jackknife
    t   = s / se

and p is that of the largest t over sites when the signs of the x_i are flipped, by the same flips
at every site (Westfall & Young 1993): p = (b + 1) / (B + 1), one-sided. It asks no normal tail of
few pairs, and no fewer pairs than 8 can exceed the control in a study of 11 categories: n pairs
have 2^n flips. A false positive occurred in .01 to .05 of simulated categories at the .05 level and
at most .005 at .0045 (12 and 20 pairs, reliability .3 to .7, lengths that vary up to tenfold;
tests/unit/geometry/test_exceeding.py).
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry.cosines import Geometry, not_the_same_pairs
from refusal_lens.geometry.nulls import DRAWS, Separability
from refusal_lens.geometry.within import WithinTests
from refusal_lens.intervals import benjamini_hochberg, t_quantile
from refusal_lens.records import Record
from refusal_lens.sites import Site

BEYOND: Final = 0.05  # largest q at which a share is called larger than in the control

SeparabilityVerdict = Literal["undefined", "not separable", "separable", "refusal direction"]


@final
@dataclass(frozen=True, eq=False)
class Comparison(Record):
    """A model's geometry minus a control's, at every site, by the same pairs.

    `share` and `cosine` are differences of shares and of corrected cosines, each less its jackknife
    bias, with 95% intervals. `p` is one-sided, of the largest difference in share over the sites by
    `draws` sign flips; `q` is what it is after Benjamini-Hochberg over categories. NaN is
    "undefined" in either model.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    model: str
    control: str
    categories: tuple[str, ...]
    sites: tuple[Site, ...]
    offset: int
    n: tuple[int, ...]
    draws: int
    seed: int
    share: Float[Tensor, "site category"]
    share_low: Float[Tensor, "site category"]
    share_high: Float[Tensor, "site category"]
    cosine: Float[Tensor, "site category category"]
    cosine_low: Float[Tensor, "site category category"]
    cosine_high: Float[Tensor, "site category category"]
    p: Float[Tensor, " category"]
    q: Float[Tensor, " category"]

    def __repr__(self) -> str:
        beyond = int((self.q <= BEYOND).sum())
        return (
            f"Comparison({self.model} minus {self.control}: {beyond} of {len(self.categories)} "
            f"categories beyond the control, {len(self.sites)} sites, offset {self.offset})"
        )


def compare_to_control(
    model: Geometry, control: Geometry, *, draws: int = DRAWS, seed: int = 0
) -> Comparison:
    """Differences between a model and its control.

    >>> residuals = model.residuals(prompts)
    >>> with model.editing(rl.Ablate(directions["advice", 1])):
    ...     control = model.residuals(prompts)
    >>> compared = compare_to_control(rl.fit_geometry(residuals), rl.fit_geometry(control))
    >>> compared.share.shape  # site, category
    torch.Size([3, 3])

    Raises:
        InputError: the two were not fitted on the same pairs at the same sites and offset, or fewer
            flips than 9,999.
    """
    if draws < DRAWS:
        raise InputError(f"{draws} sign flips are too few; give at least {DRAWS}")
    places = [n for n in ("sites", "offset") if getattr(model, n) != getattr(control, n)]
    if differing := [*filter(None, [not_the_same_pairs(model, control)]), *places]:
        raise InputError(
            f"the model and its control differ in {differing[0]}; fit both on the same prompts, "
            "sites and offset"
        )
    n = torch.tensor(model.n, dtype=torch.float64)
    owner = torch.repeat_interleave(torch.arange(len(n)), torch.tensor(model.n))
    influence = (model.share_influence - control.share_influence).double()
    share_se = _summed(influence, owner, len(n)).sqrt()
    by_row = _summed(model.influence - control.influence, owner, len(n))
    share = (model.share - control.share).double()
    cosine = (model.corrected - control.corrected).double()
    share_half = t_quantile(n - 1) * share_se
    half = t_quantile(n[:, None] + n[None, :] - 2) * (by_row + by_row.mT).sqrt()
    p = torch.stack(
        [_exceeding(share[:, k], influence[:, owner == k], draws, seed + k) for k in range(len(n))]
    )
    return Comparison(
        model=model.provenance.model,
        control=control.provenance.model,
        categories=model.categories,
        sites=model.sites,
        offset=model.offset,
        n=model.n,
        draws=draws,
        seed=seed,
        share=share.float(),
        share_low=(share - share_half).float(),
        share_high=(share + share_half).float(),
        cosine=cosine.float(),
        cosine_low=(cosine - half).float(),
        cosine_high=(cosine + half).float(),
        p=p.float(),
        q=benjamini_hochberg(p).float(),
    )


def verdicts(
    separability: Separability,
    comparison: Comparison | None,
    within: WithinTests | None = None,
) -> dict[str, SeparabilityVerdict]:
    """The verdict on each category's differences.

    "separable": the sides differ in the stream. "refusal direction": they also differ more than
    in the control model. Without a control model, as of most models that refuse by themselves:
    the category's harmful prompts differ, beyond exchanged verdicts, by whether this model refused
    them. Without either nothing is called a refusal direction.

    >>> tests = rl.geometry.separability(model.residuals(prompts))
    >>> verdicts(tests, None)["advice"] in ("separable", "not separable")
    True
    """
    verdict_of: dict[str, SeparabilityVerdict] = {}
    for i, name in enumerate(separability.categories):
        if not bool(torch.isfinite(separability.q[i])):
            verdict_of[name] = "undefined"
        elif not separability.separable(name):
            verdict_of[name] = "not separable"
        elif comparison is not None and name in comparison.categories:
            beyond = bool(comparison.q[comparison.categories.index(name)] <= BEYOND)
            verdict_of[name] = "refusal direction" if beyond else "separable"
        elif comparison is None and within is not None and within.differs(name):
            verdict_of[name] = "refusal direction"
        else:
            verdict_of[name] = "separable"
    return verdict_of


def _summed(values: Tensor, owner: Tensor, n_categories: int) -> Tensor:
    """Sums of squared influences over the pairs of each category, site by site."""
    squares = values.double().square()
    sums = torch.zeros(len(values), n_categories, *values.shape[2:], dtype=torch.float64)
    return sums.index_add_(1, owner, squares)


def _exceeding(
    share: Float64[Tensor, " site"],
    influence: Float64[Tensor, "site pair"],
    draws: int,
    seed: int,
) -> Float64[Tensor, ""]:
    """p of a category's largest t over the sites under sign flips; NaN without a defined site."""
    n = influence.shape[1]
    defined = torch.isfinite(share) & (influence.square().sum(1) > 0)
    if not bool(defined.any()):
        return torch.tensor(torch.nan, dtype=torch.float64)
    values = share[defined, None] + (n * (n - 1)) ** 0.5 * influence[defined]
    # t grows with the sum over the root of the sum of squares, which no flip changes.
    values = values / values.square().sum(1, keepdim=True).sqrt()
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (draws, n), generator=generator).double() * 2 - 1
    as_large = (signs @ values.T).max(1).values >= values.sum(1).max() - 1e-9
    return (as_large.sum().double() + 1) / (draws + 1)

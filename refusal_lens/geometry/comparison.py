"""Refusal, or just content: the same pairs in a control model, with differences and intervals.

A category's directions in two models are compared by its *share*, U / mean |d_i|^2: the part of one
pair's squared difference that all pairs have in common. It has no unit and does not depend on the
number of pairs. The same prompts went through both models, so each pair's influence on the one
number is taken from its influence on the other before their squares are summed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal, final

import torch
from jaxtyping import Float
from scipy import stats as scipy_stats
from scipy.stats import false_discovery_control
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.geometry.base import Geometry
from refusal_lens.geometry.jackknife import t_quantile
from refusal_lens.geometry.nulls import Separability
from refusal_lens.geometry.within import WithinTests
from refusal_lens.records import Record, load_record, save_record
from refusal_lens.sites import Site

BEYOND: Final = 0.05  # largest q at which a share is called larger than in the control

Verdict = Literal["undefined", "not separable", "separable", "refusal direction"]


@final
@dataclass(frozen=True, eq=False)
class Comparison(Record):
    """A model's geometry minus a control's, at every site, by the same pairs.

    `share` and `cosine` are differences of shares and of corrected cosines, with 95% intervals.
    `p` is one-sided, of the largest difference in share over the sites (Bonferroni); `q` is what
    it is after Benjamini-Hochberg over categories. NaN is "undefined" in either model.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    model: str
    control: str
    categories: tuple[str, ...]
    sites: tuple[Site, ...]
    offset: int
    n: tuple[int, ...]
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

    def save(self, stem: Path | str) -> None:
        """Write `<stem>.json` and `<stem>.safetensors`."""
        save_record(self, stem)

    @classmethod
    def load(cls, stem: Path | str) -> "Comparison":
        """Read what `save` wrote."""
        return load_record(cls, stem)


def compare(model: Geometry, control: Geometry) -> Comparison:
    """Differences between a model and its control.

    Raises:
        InputError: the two were not fitted on the same pairs at the same sites and offset.
    """
    for name in ("categories", "pairs", "sites", "offset"):
        ours, theirs = getattr(model, name), getattr(control, name)
        if ours != theirs:
            raise InputError(
                f"the model and its control differ in {name}; fit both on the same prompts, "
                "sites and offset"
            )
    n = torch.tensor(model.n, dtype=torch.float64)
    owner = torch.repeat_interleave(torch.arange(len(n)), torch.tensor(model.n))
    share_se = _summed(model.share_influence - control.share_influence, owner, len(n)).sqrt()
    by_row = _summed(model.influence - control.influence, owner, len(n))
    share = (model.share - control.share).double()
    cosine = (model.corrected - control.corrected).double()
    share_half = t_quantile(n - 1) * share_se
    half = t_quantile(n[:, None] + n[None, :] - 2) * (by_row + by_row.mT).sqrt()
    p, q = _beyond(share, share_se, n)
    return Comparison(
        model=model.provenance.model,
        control=control.provenance.model,
        categories=model.categories,
        sites=model.sites,
        offset=model.offset,
        n=model.n,
        share=share.float(),
        share_low=(share - share_half).float(),
        share_high=(share + share_half).float(),
        cosine=cosine.float(),
        cosine_low=(cosine - half).float(),
        cosine_high=(cosine + half).float(),
        p=p.float(),
        q=q.float(),
    )


def verdicts(
    separability: Separability,
    comparison: Comparison | None,
    within: WithinTests | None = None,
) -> dict[str, Verdict]:
    """What may be said of each category's differences.

    "separable": the sides differ in the stream. "refusal direction": they also differ more than
    in the control model. Without a control model, as of most models that refuse by themselves:
    the category's harmful prompts differ, beyond exchanged verdicts, by whether this model refused
    them. Without either nothing is called a refusal direction.
    """
    found: dict[str, Verdict] = {}
    for i, name in enumerate(separability.categories):
        if not bool(torch.isfinite(separability.q[i])):
            found[name] = "undefined"
        elif not separability.separable(name):
            found[name] = "not separable"
        elif comparison is not None and name in comparison.categories:
            beyond = bool(comparison.q[comparison.categories.index(name)] <= BEYOND)
            found[name] = "refusal direction" if beyond else "separable"
        elif comparison is None and within is not None and within.differs(name):
            found[name] = "refusal direction"
        else:
            found[name] = "separable"
    return found


def _summed(values: Tensor, owner: Tensor, n_categories: int) -> Tensor:
    """Sums of squared influences over the pairs of each category, site by site."""
    squares = values.double().square()
    sums = torch.zeros(len(values), n_categories, *values.shape[2:], dtype=torch.float64)
    return sums.index_add_(1, owner, squares)


def _beyond(share: Tensor, se: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    t = (share / torch.where(se > 0, se, torch.nan)).numpy()
    by_site = torch.from_numpy(scipy_stats.t.sf(t, (n - 1).numpy()))
    defined = torch.isfinite(by_site)
    least = torch.where(defined, by_site, torch.inf).min(0).values
    p = torch.where(defined.any(0), (least * defined.sum(0)).clamp(max=1.0), torch.nan)
    q = torch.full_like(p, torch.nan)
    tested = torch.isfinite(p)
    if bool(tested.any()):
        q[tested] = torch.from_numpy(false_discovery_control(p[tested].numpy()))
    return p, q

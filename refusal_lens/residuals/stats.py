"""`ResidualStats`: sums of the residual stream, streamed in constant memory, mergeable."""

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.records import Provenance, Record
from refusal_lens.residuals.axes import check_read_alike
from refusal_lens.sites import Site
from refusal_lens.sums import Sides, SideSums


@final
@dataclass(frozen=True, eq=False)
class ResidualStats(Record):
    """Sums of the residual stream by category, label, offset and site; shards merge by addition.

    `total` sums x and `sq_norm` sums |x|^2. `n_pairs` counts the pairs of which both sides are here
    and `pair_sq` sums their |d_i|^2, d_i being refuse minus comply within pair i. Where some prompt
    of a category is without its twin (`paired`), its two sides count as independent samples.
    The label axis is ("refuse", "comply"). All sums are float64. `half_pairs` names the pairs, as
    "category/pair", of which one side alone is here: shards that split one are not merged.

    >>> model.residual_stats(prompts, offsets=[-1]).difference.shape
    torch.Size([3, 1, 3, 32])
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    categories: tuple[str, ...]
    sites: tuple[Site, ...]
    offsets: tuple[int, ...]
    count: Int64[Tensor, "category label"]
    total: Float64[Tensor, "category label offset site d_model"]
    sq_norm: Float64[Tensor, "category label offset site"]
    n_pairs: Int64[Tensor, " category"]
    pair_sq: Float64[Tensor, "category offset site"]
    provenance: Provenance
    half_pairs: tuple[str, ...] = ()

    def __repr__(self) -> str:
        n = ", ".join(
            f"{c} {a}+{b}" for c, (a, b) in zip(self.categories, self.count.tolist(), strict=True)
        )
        return f"ResidualStats({n}; {len(self.sites)} sites, offsets {list(self.offsets)})"

    @property
    def mean(self) -> Float64[Tensor, "category label offset site d_model"]:
        """Mean of x; NaN where a side has no prompt."""
        n = self.count.double()
        return self.total / torch.where(n > 0, n, torch.nan)[:, :, None, None, None]

    @property
    def difference(self) -> Float64[Tensor, "category offset site d_model"]:
        """Mean of the refuse side minus mean of the comply side; positive is towards refusal."""
        return self.mean[:, REFUSE] - self.mean[:, COMPLY]

    @property
    def paired(self) -> tuple[bool, ...]:
        """For each category, whether every prompt has its twin in these statistics."""
        n = self.n_pairs
        whole = (self.count[:, REFUSE] == n) & (self.count[:, COMPLY] == n) & (n > 0)
        return tuple(bool(x) for x in whole)

    def pooled(self) -> "ResidualStats":
        """All categories taken together as one, called "pooled".

        >>> model.residual_stats(prompts).pooled().count  # (refuse, comply)
        tensor([[18, 18]])
        """
        return replace(
            self,
            categories=("pooled",),
            count=self.count.sum(0, keepdim=True),
            total=self.total.sum(0, keepdim=True),
            sq_norm=self.sq_norm.sum(0, keepdim=True),
            n_pairs=self.n_pairs.sum(0, keepdim=True),
            pair_sq=self.pair_sq.sum(0, keepdim=True),
        )

    def merge(self, other: "ResidualStats") -> "ResidualStats":
        """The statistics of both shards together.

        `PromptSet.shards` cuts a set without splitting a pair, whose difference would be lost.

        >>> advice = prompts.only(category="advice")
        >>> half, other = (model.residual_stats(shard) for shard in advice.shards(2))
        >>> half.merge(other).count
        tensor([[6, 6]])

        Raises:
            InputError: the shards differ in categories, sites, offsets, model, precision, template
                or edits, hold the same prompts, or split a pair.
        """
        for name in ("categories", "sites", "offsets"):
            if getattr(self, name) != getattr(other, name):
                raise InputError(f"statistics with different {name} can't be merged")
        ours, theirs = self.provenance, other.provenance
        check_read_alike(ours, theirs, "statistics of two models can't be merged")
        digests = [p.prompts_digest.split("+") for p in (ours, theirs)]
        if twice := [d for d in digests[1] if d in digests[0] and d != "none"]:
            raise InputError(
                f"the shard of prompts {twice[0][:12]} is merged already: its prompts would count "
                "twice"
            )
        if split := sorted({*self.half_pairs} & {*other.half_pairs}):
            raise InputError(
                f"pair {split[0]!r} is split over two shards, and its difference would be lost: "
                "cut the prompts with PromptSet.shards, which keeps pairs whole"
            )
        return replace(
            self,
            count=self.count + other.count,
            total=self.total + other.total,
            sq_norm=self.sq_norm + other.sq_norm,
            n_pairs=self.n_pairs + other.n_pairs,
            pair_sq=self.pair_sq + other.pair_sq,
            provenance=replace(
                self.provenance, prompts_digest="+".join(d for ds in digests for d in ds)
            ),
            half_pairs=self.half_pairs + other.half_pairs,
        )


@final
class StatsAccumulator:
    """Adds batches to sums in constant memory; `finish` gives the statistics."""

    def __init__(
        self,
        categories: tuple[str, ...],
        sites: tuple[Site, ...],
        offsets: tuple[int, ...],
        d_model: int,
    ) -> None:
        self._axes = (categories, sites, offsets)
        shape = (len(offsets), len(sites), d_model)
        self._sums = SideSums(len(categories), shape, n_inner=1)

    def update(
        self,
        resid: Float[Tensor, "batch offset site d_model"],
        category: Int64[Tensor, " batch"],
        label: Int64[Tensor, " batch"],
        pairs: Int64[Tensor, "pair 2"],
    ) -> None:
        """Add a batch; `pairs` holds the rows of (refuse, comply) twins that are both in it."""
        self._sums.update(resid, Sides(category, label, pairs))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Every sum and count, to which those of other prompts may be added in place."""
        return self._sums.tensors

    def finish(self, provenance: Provenance, *, half_pairs: tuple[str, ...] = ()) -> ResidualStats:
        """The statistics of all that was added."""
        categories, sites, offsets = self._axes
        return ResidualStats(
            categories=categories,
            sites=sites,
            offsets=offsets,
            count=self._sums.count,
            total=self._sums.total,
            sq_norm=self._sums.square,
            n_pairs=self._sums.n_pairs,
            pair_sq=self._sums.pair_square,
            provenance=provenance,
            half_pairs=half_pairs,
        )

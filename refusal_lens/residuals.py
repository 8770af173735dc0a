"""Residual statistics (streaming, mergeable) and per-prompt residuals on disk."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Final, final

import torch
from jaxtyping import Float, Float64, Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.prompts import LABELS, PromptSet, labelled
from refusal_lens.records import Provenance, Record, load_record, save_record
from refusal_lens.sites import Site
from refusal_lens.sums import Sides, SideSums

REFUSE: Final = LABELS.index("refuse")
COMPLY: Final = LABELS.index("comply")


@final
@dataclass(frozen=True, eq=False)
class ResidualStats(Record):
    """Sums of the residual stream by category, label, offset and site; shards merge by addition.

    `total` sums x and `sq_norm` sums |x|^2. Where every prompt of a category has its twin,
    `n_pairs` counts the pairs and `pair_sq` sums |d_i|^2, d_i being refuse minus comply within
    pair i; elsewhere both are 0 and the two sides count as independent samples.
    The label axis is ("refuse", "comply"). All sums are float64. `half_pairs` names the pairs, as
    "category/pair", of which one side alone is here: shards that split one are not merged.
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
        """All categories taken together as one, called "pooled"."""
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

        Raises:
            InputError: the shards differ in categories, sites, offsets, model, precision, template
                or edits, hold the same prompts, or split a pair.
        """
        for name in ("categories", "sites", "offsets"):
            if getattr(self, name) != getattr(other, name):
                raise InputError(f"statistics with different {name} can't be merged")
        ours, theirs = self.provenance, other.provenance
        for name in ("model_digest", "dtype", "template_digest", "rendered_prefix", "edits"):
            a, b = getattr(ours, name), getattr(theirs, name)
            if a != b:
                raise InputError(
                    f"statistics of two models can't be merged: {ours.model} and {theirs.model} "
                    f"differ in {name} ({a[:60]!r} and {b[:60]!r})"
                )
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


def stats_of(
    resid: Float[Tensor, "prompt offset site d_model"],
    prompts: PromptSet,
    *,
    sites: tuple[Site, ...],
    offsets: tuple[int, ...],
    provenance: Provenance,
) -> ResidualStats:
    """The statistics of residuals that are in memory, in the order of `prompts`."""
    accumulator = StatsAccumulator(prompts.categories, sites, offsets, resid.shape[-1])
    accumulator.update(resid, *index_axes(prompts), twins(prompts))
    return accumulator.finish(provenance, half_pairs=half_pairs(prompts))


def index_axes(prompts: PromptSet) -> tuple[Int64[Tensor, " prompt"], Int64[Tensor, " prompt"]]:
    """Each prompt's place on the category axis and on the label axis."""
    labelled(prompts)
    category = torch.tensor([prompts.categories.index(p.category) for p in prompts])
    return category, torch.tensor([LABELS.index(p.label) for p in prompts])


def half_pairs(prompts: PromptSet) -> tuple[str, ...]:
    """Pairs of which one side alone is in the set, as "category/pair"."""
    sides = Counter(f"{p.category}/{p.pair}" for p in prompts if p.pair is not None)
    return tuple(name for name, n in sides.items() if n < len(LABELS))


def twins(prompts: PromptSet) -> Int64[Tensor, "pair 2"]:
    """Rows of (refuse, comply) of every pair of which both sides are there."""
    sides: dict[tuple[str, str], dict[str, int]] = {}
    for row, p in enumerate(labelled(prompts)):
        if p.pair is not None:
            sides.setdefault((p.category, p.pair), {}).setdefault(p.label, row)
    both = [(s["refuse"], s["comply"]) for s in sides.values() if len(s) == len(LABELS)]
    return torch.tensor(both, dtype=torch.int64).reshape(-1, 2)


@final
@dataclass(frozen=True)
class ResidualCache(Record):
    """Per-prompt residuals at chosen sites and offsets, on disk and memory-mapped.

    `read(site, offset)` brings one [prompt, d_model] slice into memory, in the order of `ids`.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    folder: Path
    ids: tuple[str, ...]
    sites: tuple[Site, ...]
    offsets: tuple[int, ...]
    provenance: Provenance

    @classmethod
    def write(
        cls,
        folder: Path | str,
        resid: Float[Tensor, "prompt offset site d_model"],
        *,
        ids: tuple[str, ...],
        sites: tuple[Site, ...],
        offsets: tuple[int, ...],
        provenance: Provenance,
    ) -> "ResidualCache":
        """Save residuals as one tensor a site and offset.

        Raises:
            InputError: the residuals' shape is not that of ids, offsets and sites.
        """
        expected = (len(ids), len(offsets), len(sites))
        if resid.shape[:3] != expected:
            raise InputError(
                f"residuals have shape {tuple(resid.shape[:3])}, expected {expected}: "
                "one row a prompt id, offset and site"
            )
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # Without its record the old cache can't be opened: ids and residuals never get mixed.
        (folder / "residuals.json").unlink(missing_ok=True)
        tensors = {
            _slice_name(site, offset): resid[:, o, s].float().contiguous().clone()
            for s, site in enumerate(sites)
            for o, offset in enumerate(offsets)
        }
        temporary = folder / ".residuals.tmp"
        save_file(tensors, temporary)
        temporary.replace(folder / "residuals.safetensors")
        cache = cls(folder, ids, sites, offsets, provenance)
        save_record(cache, folder / "residuals")
        return cache

    @classmethod
    def load(cls, folder: Path | str) -> "ResidualCache":
        """Open a saved cache; nothing is read until `read`."""
        folder = Path(folder)
        return replace(load_record(cls, folder / "residuals"), folder=folder)

    def read(self, site: Site, offset: int) -> Float[Tensor, "prompt d_model"]:
        """Residuals of every prompt at one site and offset.

        Raises:
            InputError: the site or offset was not cached, or the file is missing or damaged.
        """
        if site not in self.sites or offset not in self.offsets:
            raise InputError(
                f"{site} at offset {offset} was not cached; this cache holds "
                f"{[str(s) for s in self.sites]} at offsets {list(self.offsets)}"
            )
        path = self.folder / "residuals.safetensors"
        try:
            with safe_open(path, framework="pt") as file:
                return file.get_tensor(_slice_name(site, offset))
        except (FileNotFoundError, SafetensorError) as error:
            raise InputError(f"{path} can't be read ({error}); cache the residuals again") from None


def _slice_name(site: Site, offset: int) -> str:
    return f"{site}@{offset}"

"""Forward passes over many prompts: batches, the shared prefix, statistics, residuals, logits.

All prompts of a model begin with the template's own tokens: their keys and values are computed
once and reused (under an edit, once for that edit). A causal model needs no left padding to be
read at prompt positions: prompts of similar length share a batch, padded on the right, and each
row is read at its own last tokens. Padding can't be read: positions come from each row's length.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar, final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.memory import BatchSize, enough_for, in_batches, ran_out
from refusal_lens.model.active import ActiveEdits, Variant
from refusal_lens.model.backend import Backend, Step
from refusal_lens.model.batch import Batch, Ids, padded
from refusal_lens.model.hooks import NOWHERE, EnoughRead, Reader, Tokens
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Provenance
from refusal_lens.residuals import (
    ResidualStats,
    StatsAccumulator,
    half_pairs,
    index_axes,
    pair_rows,
)
from refusal_lens.sites import Site

Progress = Callable[[int], None]
T = TypeVar("T")


@final
class SharedPrefix:
    """The keys and values of the tokens that every prompt of a template begins with.

    Edits that differ between rows make the prefix differ: there is one for each such variant, and
    each row continues its own. A recurrent model has none: its state is carried on by one token at
    a time, and each row is read from its first token on.
    """

    def __init__(self, edits: ActiveEdits, ids: Ids) -> None:
        self.edits = edits
        self.backend = edits.backend
        self.ids = () if self.backend.recurrent else ids
        self._cache: Any = None
        self._variants: dict[Variant, tuple[int, Bool[Tensor, " condition"]]] = {}

    def forget(self) -> None:
        """Compute the prefix anew at its next use: an edit began or ended."""
        self._cache = None
        self._variants = {}

    def prepare(self, batch: Batch) -> Batch:
        """The batch with its conditions decided, and the prefixes that its rows continue."""
        if batch.decided is None:
            batch = self._decide(batch)
        assert batch.decided is not None
        needed = dict(zip(self._variants_of(batch), range(len(batch.rows)), strict=True))
        new = {v: (batch.rows[i], batch.decided[i]) for v, i in needed.items()}
        if self.ids and not new.keys() <= self._variants.keys():
            variants = {**new, **self._variants}
            if len(variants) > len(batch.rows):  # what fits is counted in the rows of a batch
                variants = new
            n = len(variants)
            rows, decided = zip(*variants.values(), strict=True)
            ids = torch.tensor([self.ids] * n, device=self.backend.device)
            tokens = Tokens(rows, torch.full((n, len(self.ids)), NOWHERE), torch.stack(decided))
            with self.edits.seeing(tokens):
                step = self.backend.forward(ids, torch.ones_like(ids), use_cache=True)
            self._cache, self._variants = step.cache, variants
        return batch

    def run(self, batch: Batch, *, keep: Sequence[int], use_cache: bool = False) -> Step:
        """One forward pass of a batch after the prefix."""
        batch = self.prepare(batch)
        assert batch.decided is not None
        mask = batch.mask(len(self.ids)).to(self.backend.device)
        ids = batch.ids.to(self.backend.device)
        cache = None
        if self.ids:
            order = {variant: i for i, variant in enumerate(self._variants)}
            rows = [order[variant] for variant in self._variants_of(batch)]
            cache = self.backend.select_cache(self._cache, rows)
        with self.edits.seeing(Tokens(batch.rows, batch.places(), batch.decided)):
            return self.backend.forward(ids, mask, keep=keep, cache=cache, use_cache=use_cache)

    def follow(
        self,
        batch: Batch,
        ids: Int64[Tensor, "batch new"],
        cache: Any,
        *,
        said: int = 0,
        own: Bool[Tensor, "batch new"] | None = None,
    ) -> Step:
        """The next tokens of each row's answer, behind its prompt and `said` tokens in `cache`.

        `own` is False where a row is padded; logits come back at every new token.
        """
        assert batch.decided is not None
        n, new = ids.shape
        own = torch.ones(n, new, dtype=torch.bool) if own is None else own
        mask = batch.mask(len(self.ids))
        mask = torch.cat([mask, mask.new_ones(n, said), own.long()], dim=1)
        places = torch.where(own, said + torch.arange(new)[None], NOWHERE)
        with self.edits.seeing(Tokens(batch.rows, places, batch.decided)):
            return self.backend.forward(
                ids.to(self.backend.device),
                mask.to(self.backend.device),
                keep=range(new),
                cache=cache,
            )

    def _variants_of(self, batch: Batch) -> list[Variant]:
        assert batch.decided is not None
        return self.edits.variants(batch.rows, batch.decided)

    def _decide(self, batch: Batch) -> Batch:
        """Read each condition on the prompt, in a pass with every conditional edit off."""
        conditions = self.edits.conditions
        off = torch.zeros(len(batch.rows), len(conditions), dtype=torch.bool)
        batch = replace(batch, decided=off)
        if not conditions:
            return batch
        sites = tuple(dict.fromkeys(c.site for c in conditions))
        offsets = tuple(dict.fromkeys(c.offset for c in conditions))
        # An offset may reach before the beginning of a prompt whose row doesn't ask for it.
        positions = (batch.prompt[:, None] + torch.tensor(offsets)[None]).clamp(min=0)
        reader = Reader.prepare(sites, positions, self.backend.d_model)
        self.prepare(batch)  # before the reading hooks are on, as in `read_batch`
        with self.backend.hooks(reader.hooks_until_read()), suppress(EnoughRead):
            self.run(batch, keep=(0,))
        read = [reader.resid[:, offsets.index(c.offset), sites.index(c.site)] for c in conditions]
        held = [c.holds(x) for c, x in zip(conditions, read, strict=True)]
        decided = torch.stack(held, dim=1)
        self.edits.check_decided(batch.rows, decided)
        return replace(batch, decided=decided)


@final
@dataclass(frozen=True, eq=False)
class Feed:
    """Prompts on their way through the model: token ids, shared prefix, batch size, progress.

    `at_most` holds the batches of this feed under the size that the model's own would allow.
    """

    prefix: SharedPrefix
    ids: Sequence[Ids]
    size: BatchSize
    progress: Progress
    at_most: int | None = None

    @property
    def backend(self) -> Backend:
        """The model that they go through."""
        return self.prefix.backend

    def batches(
        self, work: Callable[[Batch], T], units: Sequence[Sequence[int]] | None = None
    ) -> Iterator[tuple[Batch, T]]:
        """Batches, rows of similar length together, and what `work` makes of each.

        `units` are rows that must share a batch, for example pairs; by default each row is one.
        The shared prefix is there before `work` begins (reading hooks know only the batch's own
        positions). Where memory runs out `work` is called again with fewer rows: it must change
        nothing before it has succeeded.

        Raises:
            InputError: memory ran out with a single unit.
        """
        units = [[row] for row in range(len(self.ids))] if units is None else units
        order = sorted(units, key=lambda unit: max(len(self.ids[row]) for row in unit))
        n_prefix = len(self.prefix.ids)

        def run(rows: list[int]) -> tuple[Batch, T]:
            batch = padded(tuple(rows), [self.ids[row][n_prefix:] for row in rows])
            try:
                return batch, work(self.prefix.prepare(batch))
            except (RuntimeError, MemoryError) as error:
                if ran_out(error):
                    self.prefix.forget()  # what other batches left there takes memory, too
                raise

        with enough_for(f"one prompt at a time on {self.backend.device}"):
            for _, found in in_batches(order, self.size, run, cap=self.at_most):
                yield found


def residual_stats(
    feed: Feed,
    prompts: PromptSet,
    *,
    sites: tuple[Site, ...],
    offsets: tuple[int, ...],
    provenance: Provenance,
) -> ResidualStats:
    """Stream the statistics of `prompts`; memory does not grow with their number."""
    twin_of: dict[int, int] = dict(pair_rows(prompts).tolist())
    accumulator = StatsAccumulator(prompts.categories, sites, offsets, feed.backend.d_model)
    category, label = index_axes(prompts)

    def read(batch: Batch) -> Float[Tensor, "batch offset site d_model"]:
        return read_batch(feed.prefix, batch, sites, offsets)

    for batch, resid in feed.batches(read, _units(prompts, twin_of)):
        rows = torch.tensor(batch.rows)
        place = {row: i for i, row in enumerate(batch.rows)}
        pairs = [(place[r], place[twin_of[r]]) for r in batch.rows if r in twin_of]
        accumulator.update(
            resid, category[rows], label[rows], torch.tensor(pairs).long().reshape(-1, 2)
        )
        feed.progress(len(batch.rows))
    return accumulator.finish(provenance, half_pairs=half_pairs(prompts))


def residuals(
    feed: Feed, *, sites: tuple[Site, ...], offsets: tuple[int, ...]
) -> Float[Tensor, "prompt offset site d_model"]:
    """Residuals of every prompt at the given sites and offsets, in the order of the feed."""
    shape = (len(feed.ids), len(offsets), len(sites), feed.backend.d_model)
    found = torch.full(shape, torch.nan)

    def read(batch: Batch) -> Float[Tensor, "batch offset site d_model"]:
        return read_batch(feed.prefix, batch, sites, offsets)

    for batch, resid in feed.batches(read):
        found[list(batch.rows)] = resid
        feed.progress(len(batch.rows))
    return found


def last_logits(feed: Feed) -> Float[Tensor, "prompt d_vocab"]:
    """Logits at each row's last token, float32 on the CPU, in the order of the feed."""
    parts: list[tuple[tuple[int, ...], Tensor]] = []

    def read(batch: Batch) -> Float[Tensor, "batch d_vocab"]:
        return last_token_logits(feed.prefix, batch)[0].float().cpu()

    for batch, logits in feed.batches(read):
        parts.append((batch.rows, logits))
        feed.progress(len(batch.rows))
    order = torch.tensor([row for rows, _ in parts for row in rows]).argsort()
    return torch.cat([logits for _, logits in parts])[order]


def last_token_logits(
    prefix: SharedPrefix, batch: Batch, *, use_cache: bool = False
) -> tuple[Float[Tensor, "batch d_vocab"], Any]:
    """Logits at each row's own last token, and the cache of the pass."""
    # Only the few distinct last positions of a batch go through the unembedding.
    keep = sorted(set((batch.length - 1).tolist()))
    step = prefix.run(batch, keep=keep, use_cache=use_cache)
    at = torch.tensor([keep.index(n - 1) for n in batch.length.tolist()])
    return step.logits[torch.arange(len(at)), at], step.cache


def read_batch(
    prefix: SharedPrefix, batch: Batch, sites: tuple[Site, ...], offsets: tuple[int, ...]
) -> Float[Tensor, "batch offset site d_model"]:
    """Residuals of one batch at offsets counted from each row's last token (-1)."""
    positions = batch.length[:, None] + torch.tensor(offsets)[None]
    if bool((positions < 0).any()):
        longest = len(prefix.ids) + int(batch.length.min())
        raise InputError(
            f"offset {min(offsets)} reaches before the prompt's own tokens (the shortest has "
            f"{longest} with its template); read nearer to the end"
        )
    reader = Reader.prepare(sites, positions, prefix.backend.d_model)
    # Before the reading hooks are on: they know only the batch's positions.
    batch = prefix.prepare(batch)
    with prefix.backend.hooks(reader.hooks()):
        prefix.run(batch, keep=(0,))
    return reader.resid


def _units(prompts: PromptSet, twin_of: dict[int, int]) -> list[list[int]]:
    """Rows that must share a batch: both sides of a pair, or one prompt by itself."""
    second = set(twin_of.values())
    return [
        [row, twin_of[row]] if row in twin_of else [row]
        for row in range(len(prompts))
        if row not in second
    ]

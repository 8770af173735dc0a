"""Forward passes over many prompts: batches, the shared prefix, statistics, residuals, logits.

All prompts of a model begin with the template's own tokens: their keys and values are computed
once and reused (under an edit, once for that edit). A causal model needs no left padding to be
read at prompt positions: prompts of similar length share a batch, padded on the right, and each
row is read at its own last tokens. Padding can't be read: positions come from each row's length.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.model.active import ActiveEdits, Variant
from refusal_lens.model.backend import Backend, Step
from refusal_lens.model.hooks import NOWHERE, EnoughRead, Reader, Tokens
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Provenance
from refusal_lens.residuals import ResidualStats, StatsAccumulator, half_pairs, index_axes, twins
from refusal_lens.sites import Site

Progress = Callable[[int], None]
Ids = tuple[int, ...]


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """Rows of token ids without the shared prefix, padded on the right.

    `rows` are their places in the caller's list; `length` counts each row's own tokens, of which
    the first `prompt` belong to the prompt and the others to an answer. `decided` says which
    conditions of the edits hold for each row, once that is known.
    """

    rows: tuple[int, ...]
    ids: Int64[Tensor, "batch pos"]
    length: Int64[Tensor, " batch"]
    prompt: Int64[Tensor, " batch"]
    decided: Bool[Tensor, "batch condition"] | None = None

    def mask(self, n_prefix: int) -> Int64[Tensor, "batch seen"]:
        """1 for the prefix and each row's own tokens, 0 for padding."""
        prefix = torch.ones(len(self.rows), n_prefix, dtype=torch.int64)
        return torch.cat([prefix, self._own().long()], dim=1)

    def places(self) -> Int64[Tensor, "batch pos"]:
        """Each token's place from the end of its prompt: -1 its last, 0 the first behind it."""
        places = torch.arange(self.ids.shape[1])[None] - self.prompt[:, None]
        return torch.where(self._own(), places, NOWHERE)

    def extended(self, tokens: Sequence[Sequence[int]]) -> "Batch":
        """The same rows with more tokens behind each row's own."""
        own = [self.ids[i, : self.length[i]].tolist() for i in range(len(self.rows))]
        longer = _padded(self.rows, [[*a, *b] for a, b in zip(own, tokens, strict=True)])
        return replace(longer, prompt=self.prompt, decided=self.decided)

    def chosen(self, at: Sequence[int]) -> "Batch":
        """Some of the rows, in this order; a row may stand there several times."""
        rows = tuple(self.rows[i] for i in at)
        decided = None if self.decided is None else self.decided[at]
        return Batch(rows, self.ids[at], self.length[at], self.prompt[at], decided)

    def _own(self) -> Bool[Tensor, "batch pos"]:
        return torch.arange(self.ids.shape[1])[None] < self.length[:, None]


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
            self._variants = {**new, **self._variants}
            n = len(self._variants)
            rows, decided = zip(*self._variants.values(), strict=True)
            ids = torch.tensor([self.ids] * n, device=self.backend.device)
            tokens = Tokens(rows, torch.full((n, len(self.ids)), NOWHERE), torch.stack(decided))
            with self.edits.seeing(tokens):
                step = self.backend.forward(ids, torch.ones_like(ids), use_cache=True)
            self._cache = step.cache
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
    """Prompts on their way through the model: token ids, shared prefix, batch size, progress."""

    prefix: SharedPrefix
    ids: Sequence[Ids]
    batch_size: int
    progress: Progress

    @property
    def backend(self) -> Backend:
        """The model that they go through."""
        return self.prefix.backend

    def batches(self) -> list[Batch]:
        """Batches of single rows, rows of similar length together."""
        units = [[row] for row in range(len(self.ids))]
        return make_batches(self.ids, units, len(self.prefix.ids), self.batch_size)


def make_batches(
    ids: Sequence[Ids], units: Sequence[Sequence[int]], n_prefix: int, batch_size: int
) -> list[Batch]:
    """Batches of whole units (for example pairs), units of similar length together."""
    order = sorted(units, key=lambda unit: max(len(ids[row]) for row in unit))
    batches: list[Batch] = []
    rows: list[int] = []
    for unit in order:
        if rows and len(rows) + len(unit) > batch_size:
            batches.append(_batch(ids, rows, n_prefix))
            rows = []
        rows.extend(unit)
    return [*batches, _batch(ids, rows, n_prefix)] if rows else batches


def residual_stats(
    feed: Feed,
    prompts: PromptSet,
    *,
    sites: tuple[Site, ...],
    offsets: tuple[int, ...],
    provenance: Provenance,
) -> ResidualStats:
    """Stream the statistics of `prompts`; memory does not grow with their number."""
    twin_of: dict[int, int] = dict(twins(prompts).tolist())
    accumulator = StatsAccumulator(prompts.categories, sites, offsets, feed.backend.d_model)
    category, label = index_axes(prompts)
    units = _units(prompts, twin_of)
    for batch in make_batches(feed.ids, units, len(feed.prefix.ids), feed.batch_size):
        resid = read_batch(feed.prefix, batch, sites, offsets)
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
    for batch in feed.batches():
        found[list(batch.rows)] = read_batch(feed.prefix, batch, sites, offsets)
        feed.progress(len(batch.rows))
    return found


def last_logits(feed: Feed) -> Float[Tensor, "prompt d_vocab"]:
    """Logits at each row's last token, float32 on the CPU, in the order of the feed."""
    parts: list[tuple[tuple[int, ...], Tensor]] = []
    for batch in feed.batches():
        logits, _ = last_token_logits(feed.prefix, batch)
        parts.append((batch.rows, logits.float().cpu()))
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


def _batch(ids: Sequence[Ids], rows: Sequence[int], n_prefix: int) -> Batch:
    return _padded(tuple(rows), [ids[row][n_prefix:] for row in rows])


def _padded(rows: tuple[int, ...], own: Sequence[Sequence[int]]) -> Batch:
    length = torch.tensor([len(x) for x in own])
    padded = torch.zeros(len(rows), int(length.max()), dtype=torch.int64)
    for i, x in enumerate(own):
        padded[i, : len(x)] = torch.tensor(x)
    return Batch(rows, padded, length, prompt=length)


def _units(prompts: PromptSet, twin_of: dict[int, int]) -> list[list[int]]:
    """Rows that must share a batch: both sides of a pair, or one prompt by itself."""
    second = set(twin_of.values())
    return [
        [row, twin_of[row]] if row in twin_of else [row]
        for row in range(len(prompts))
        if row not in second
    ]

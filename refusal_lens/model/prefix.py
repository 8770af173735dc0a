"""The tokens that all prompts of a template begin with, computed once and continued by batches."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any, final

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from refusal_lens.model.active import ActiveEdits, Variant
from refusal_lens.model.backend import Hooks, Step
from refusal_lens.model.batch import Batch, Ids
from refusal_lens.model.hooks import IGNORED_POSITION, Tokens
from refusal_lens.model.reading import EnoughRead, HookReader


@final
class SharedPrefix:
    """The keys and values of the tokens that every prompt of a template begins with.

    Computed once per distinct configuration of the edits that are on: where rows differ in the
    edits that act on the prefix (`PerRow`, `When`), there is one per variant, and each row
    continues its own. A recurrent model has none: its state is carried on by one token at a time,
    and each row is read from its first token on.

    >>> feed = model.feed(["Why?"])
    >>> feed.prefix.ids == model.chat.prefix_ids
    True
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
            tokens = Tokens(
                rows, torch.full((n, len(self.ids)), IGNORED_POSITION), torch.stack(decided)
            )
            with self.edits.seeing(tokens):
                step = self.backend.forward(ids, torch.ones_like(ids), use_cache=True)
            self._cache, self._variants = step.cache, variants
        return batch

    def over_edits(self, hooks: Hooks) -> AbstractContextManager[Any]:
        """Put functions onto hook points, after the edits that are on, until the context ends."""
        return self.edits.over(hooks)

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
        n_generated: int = 0,
        real: Bool[Tensor, "batch new"] | None = None,
    ) -> Step:
        """The next tokens of each row's answer, after its prompt and `n_generated` answer tokens.

        `cache` holds the keys and values of those. `real` is False where a row is padded; logits
        come back at every new token.
        """
        assert batch.decided is not None
        n, new = ids.shape
        real = torch.ones(n, new, dtype=torch.bool) if real is None else real
        mask = batch.mask(len(self.ids))
        mask = torch.cat([mask, mask.new_ones(n, n_generated), real.long()], dim=1)
        places = torch.where(real, n_generated + torch.arange(new)[None], IGNORED_POSITION)
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
        reader = HookReader([site.hook_name for site in sites], positions)
        self.prepare(batch)  # before the reading hooks are on: they know this batch's rows only
        with self.over_edits(reader.hooks_until_read()), suppress(EnoughRead):
            self.run(batch, keep=(0,))
        resid = reader.residuals(sites, self.backend.d_model)
        read = [resid[:, offsets.index(c.offset), sites.index(c.site)] for c in conditions]
        met = [c.holds(x) for c, x in zip(conditions, read, strict=True)]
        decided = torch.stack(met, dim=1)
        self.edits.check_decided(batch.rows, decided)
        return replace(batch, decided=decided)


def prefix_for(shared: SharedPrefix, ids: Sequence[Ids], names: Sequence[str]) -> SharedPrefix:
    """The shared prefix if all rows continue it under the edits that are on, else an empty one.

    A tokenizer may merge a prompt's first letters with the template's last token, and an edit's
    offsets may reach into the template's beginning, differently far in each prompt: such prompts
    run without the shared prefix, at the full cost.

    Raises:
        InputError: as `ActiveEdits.check_prompts`.

    >>> shared = model.feed(["Why?"]).prefix
    >>> prefix_for(shared, [(1, 2, 3)], ["a row"]).ids
    ()
    """
    n = len(shared.ids)
    reach = max(1, shared.edits.check_prompts([len(row) for row in ids], names))
    if all(row[:n] == shared.ids and len(row) >= n + reach for row in ids):
        return shared
    return SharedPrefix(shared.edits, ())

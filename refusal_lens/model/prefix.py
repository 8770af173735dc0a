"""The tokens that all prompts of a template begin with, computed once and continued by batches."""

from collections.abc import Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from typing import Any, final

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from refusal_lens.model.active import ActiveEdits, ConditionsMet
from refusal_lens.model.backend import HookFunction, Hooks, Step
from refusal_lens.model.batch import Batch, Ids
from refusal_lens.model.hooks import IGNORED_POSITION, Tokens
from refusal_lens.model.past import Past
from refusal_lens.model.reading import EnoughRead, HookReader
from refusal_lens.model.starting import Start
from refusal_lens.model.streams import KeptStreams, StreamKey, Sweep
from refusal_lens.sites import Site


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

    def __init__(self, edits: ActiveEdits, ids: Ids, streams: KeptStreams | None = None) -> None:
        self.edits = edits
        self.backend = edits.backend
        self.ids = () if self.backend.recurrent else ids
        self.streams = streams
        self._cache: Any = None
        self._variants: dict[ConditionsMet, tuple[int, Bool[Tensor, " condition"]]] = {}

    def anew(self) -> "SharedPrefix":
        """The same prefix, not computed yet."""
        return SharedPrefix(self.edits, self.ids, self.streams)

    def forget(self) -> None:
        """Compute the prefix anew at its next use: an edit began or ended."""
        self._cache = None
        self._variants = {}

    def prepare(self, batch: Batch) -> Batch:
        """The batch with its conditions decided, and the prefixes that its rows continue.

        Under functions of others each pass computes its own (`_prefixes`).
        """
        if batch.decided is None:
            batch = self._decide(batch)
        if self.ids and not self.edits.joined_by_others:
            self._prefixes(batch)
        return batch

    def over_edits(self, hooks: Hooks) -> AbstractContextManager[Any]:
        """Put functions onto hook points, after the edits that are on, until the context ends."""
        return self.edits.over(hooks)

    def run(
        self,
        batch: Batch,
        *,
        keep: Sequence[int],
        use_cache: bool = False,
        sweep: Sweep | None = None,
    ) -> Step:
        """One forward pass of a batch after the prefix.

        A cache of a pass that began where `sweep` says is only good for passes that do so, too.
        """
        batch = self.prepare(batch)
        assert batch.decided is not None
        mask = batch.mask(len(self.ids)).to(self.backend.device)
        ids = batch.ids.to(self.backend.device)
        cache = None
        if self.ids:
            cache = self.backend.select_cache(*self._prefixes(batch))
        seeing = self.edits.seeing(Tokens(batch.rows, batch.places(), batch.decided))
        keys = batch.keys(self.ids) if sweep else []
        with seeing, self._start(sweep, keys, ids.shape[1]) as start:
            return self.backend.forward(
                ids, mask, keep=keep, cache=cache, use_cache=use_cache, start=start
            )

    def follow(
        self,
        batch: Batch,
        ids: Int64[Tensor, "batch new"],
        past: Past,
        *,
        real: Bool[Tensor, "batch new"] | None = None,
        sweep: tuple[Sweep, Sequence[Ids]] | None = None,
    ) -> Step:
        """The next tokens of each row's answer, after its prompt and what `past` holds of it.

        `real` is False where a row is padded; logits come back at every new token. `sweep` as in
        `run`, with each row's new tokens.
        """
        assert batch.decided is not None
        n, new = ids.shape
        real = torch.ones(n, new, dtype=torch.bool) if real is None else real
        mask = torch.cat([past.mask, real.long()], dim=1)
        places = past.n_generated[:, None] + torch.arange(new)[None]
        places = torch.where(real, places, IGNORED_POSITION)
        seeing = self.edits.seeing(Tokens(batch.rows, places, batch.decided))
        used, keys = (sweep[0], batch.keys(self.ids, sweep[1])) if sweep else (None, [])
        with seeing, self._start(used, keys, new) as start:
            return self.backend.forward(
                ids.to(self.backend.device),
                mask.to(self.backend.device),
                keep=range(new),
                cache=past.cache,
                start=start,
            )

    def past(self, batch: Batch, cache: Any) -> Past:
        """What a pass over a batch of prompts leaves for the first tokens of the answers."""
        return Past(cache, batch.mask(len(self.ids)), torch.zeros_like(batch.length))

    @contextmanager
    def keeping(self, layers: Sequence[int], reuse: bool) -> Generator[None]:
        """Keep streams until the context ends, or go on with those of a context around it.

        Unedited passes keep them at the inputs of `layers`. Without `reuse` nothing is kept, and
        what a context around has kept is not used.
        """
        before = self.streams
        if not self.backend.hook_count():
            self.backend.try_starts()
        self.streams = (before or KeptStreams()) if reuse else KeptStreams(most_bytes=0)
        self.streams.layers |= {*layers}
        try:
            yield
        finally:
            self.streams = before

    def sweep(self, batch: Batch, answers: Sequence[tuple[int, Ids]] = ()) -> Sweep | None:
        """How passes over a batch, and over what follows its rows, use the streams of a sweep.

        None where no sweep goes on, or an edit acts from the first block on. `answers` are the
        tokens that follow, each with its row of the batch.
        """
        if self.streams is None or torch.is_grad_enabled():
            return None
        layer, streams = self.backend.first_hooked(), self.streams
        if layer == self.backend.n_layers and (layers := sorted(streams.layers - {0})):
            return Sweep(streams, tuple(layers), start=False)
        if layer in (0, self.backend.n_layers):
            return None
        after = batch.chosen([row for row, _ in answers]).keys(self.ids, [x for _, x in answers])
        return Sweep(streams, (layer,), start=streams.has(layer, [*batch.keys(self.ids), *after]))

    @contextmanager
    def _start(
        self, sweep: Sweep | None, keys: Sequence[StreamKey], width: int
    ) -> Generator[Start | None]:
        """Where a pass begins; where it can't yet, what the next one needs is kept from it."""
        if sweep is None:
            yield None
        elif sweep.start:
            yield sweep.streams.start(sweep.layers[0], keys, width)
        else:
            seen: dict[int, Tensor] = {}

            def reader(layer: int) -> HookFunction:
                def read(resid: Tensor, hook: Any) -> None:
                    del hook
                    seen[layer] = resid

                return read

            below = {layer: Site(layer - 1, "resid_post").hook_name for layer in sweep.layers}
            with self.backend.hooks([(name, reader(layer)) for layer, name in below.items()]):
                yield None
            for layer, resid in seen.items():
                sweep.streams.keep(layer, keys, resid)

    def _prefixes(self, batch: Batch) -> tuple[Any, list[int]]:
        """Keys and values of prefixes, kept from before or computed now, and which is each row's.

        Functions that were put straight onto hook points act on the prefix as on all tokens: under
        them it is computed for this pass alone, and none is taken from before.
        """
        assert batch.decided is not None
        wanted, others = self._variants_of(batch), self.edits.joined_by_others
        last = dict(zip(wanted, range(len(batch.rows)), strict=True))
        new = {v: (batch.rows[i], batch.decided[i]) for v, i in last.items()}
        known = {} if others else self._variants
        if new.keys() <= known.keys():
            cache, variants = self._cache, known
        else:
            variants = {**new, **known}
            if len(variants) > len(batch.rows):  # what fits is counted in the rows of a batch
                variants = new
            cache = self._computed(variants)
            if not others:
                self._cache, self._variants = cache, variants
        order = {variant: i for i, variant in enumerate(variants)}
        return cache, [order[variant] for variant in wanted]

    def _computed(
        self, variants: dict[ConditionsMet, tuple[int, Bool[Tensor, " condition"]]]
    ) -> Any:
        """A cache of the prefix, a row for each variant of the edits on it."""
        n = len(variants)
        rows, decided = zip(*variants.values(), strict=True)
        ids = torch.tensor([self.ids] * n, device=self.backend.device)
        ignored = torch.full((n, len(self.ids)), IGNORED_POSITION)
        tokens = Tokens(rows, ignored, torch.stack(decided))
        with self.edits.seeing(tokens), self.edits.without_over():
            return self.backend.forward(ids, torch.ones_like(ids), use_cache=True).cache

    def _variants_of(self, batch: Batch) -> list[ConditionsMet]:
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
    return SharedPrefix(shared.edits, (), shared.streams)

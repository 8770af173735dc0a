"""Activation patching between a refuse-side prompt and its benign twin.

The benign prompt runs with one activation replaced by that of the refuse-side prompt (clean);
recovery is (patched - corrupt) / (clean - corrupt) in refusal score: 0 nothing, 1 all of it
(Zhang and Nanda 2024, section 2). A patch at the prompt's end leaves every token before it as it
was: those run once a pair, and many sites share a batch, one a row, behind that cache.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import ClassVar, Final, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from refusal_lens.attribution.endings import Endings
from refusal_lens.attribution.pairs import Pair
from refusal_lens.attribution.passes import Tap, feed_of, positions_of, silent
from refusal_lens.attribution.patch_sites import PatchHooks, PatchSite, check_patch_sites, value_at
from refusal_lens.attribution.score import Score, name_of, read_scores, score_for
from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.memory import in_batches
from refusal_lens.model import LensModel
from refusal_lens.model.batch import Batch
from refusal_lens.model.forward import Progress
from refusal_lens.records import Estimate, Provenance, Record

LEAST_GAP: Final = 1.0  # nats; over a smaller gap between clean and corrupt a share means nothing
_A_PASS: Final = 40  # tokens that cost as much as starting one more pass


@final
@dataclass(frozen=True)
class Placebo:
    """A control patch: at the first `pairs` pairs of each category, a random difference.

    The benign activation plus a random vector (isotropic, from `seed`), as long at each offset
    as the difference that is really patched in.
    """

    pairs: int = 2
    seed: int = 0


@final
@dataclass(frozen=True, eq=False)
class PatchMap(Record):
    """Refusal scores (nats) of benign prompts with one activation of the refuse side patched in.

    `patched[pair, site]` stands between `corrupt[pair]` (the benign prompt as it is) and
    `clean[pair]` (the refuse-side prompt). `placebo` is NaN for pairs without one. `alignment`
    says for each pair what its positions were compared with, and `scored_by` which log-odds its
    score is; `tokens` are the benign prompts' at `offsets`, "…" where they differ.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    sites: tuple[PatchSite, ...]
    offsets: tuple[int, ...]
    tokens: tuple[str, ...]
    pairs: tuple[str, ...]
    categories: tuple[str, ...]
    alignment: tuple[str, ...]
    scored_by: tuple[str, ...]
    patched: Float[Tensor, "pair site"]
    placebo: Float[Tensor, "pair site"]
    clean: Float[Tensor, " pair"]
    corrupt: Float[Tensor, " pair"]
    control: Placebo
    provenance: Provenance

    @property
    def recovery(self) -> Float[Tensor, "pair site"]:
        """Share of the score's gap; NaN where clean is not at least 1 nat above corrupt."""
        return self._share(self.patched)

    @property
    def placebo_recovery(self) -> Float[Tensor, "pair site"]:
        """The same for the placebo."""
        return self._share(self.placebo)

    def of(self, category: str | None = None) -> Bool[Tensor, " pair"]:
        """The pairs of a category (all without one)."""
        return torch.tensor([category in (None, c) for c in self.categories])

    def estimates(self, category: str | None = None) -> tuple[Estimate, ...]:
        """Mean recovery at each site with its t interval over pairs; control: the placebo."""
        own = self.of(category)
        recovery, placebo = self.recovery[own], self.placebo_recovery[own]
        return tuple(_estimate(recovery[:, s], placebo[:, s]) for s in range(len(self.sites)))

    def _share(self, scores: Float[Tensor, "pair site"]) -> Float[Tensor, "pair site"]:
        gap = self.clean - self.corrupt
        return (scores - self.corrupt[:, None]) / torch.where(gap >= LEAST_GAP, gap, nan)[:, None]


def patch(  # noqa: PLR0913 - what is patched, where, how it is scored and controlled
    model: LensModel,
    pairs: Sequence[Pair],
    sites: Sequence[PatchSite],
    metric: Score | Mapping[str, Score],
    *,
    offsets: Sequence[int] | None = None,
    placebo: Placebo = Placebo(),
    progress: Progress = silent,
) -> PatchMap:
    """Patch every site of every pair; `offsets` are by default the template's end.

    `metric` is one score, or one for each category. Progress counts pairs.

    Raises:
        InputError: a site or offset that the model or a pair does not have; offsets before the
            template's end in a pair of unequal length.
    """
    chosen = _window(offsets or model.chat.offsets)
    check_patch_sites(sites, chosen, model.n_layers, model.backend.hook_names())
    alignment = tuple(p.alignment(-chosen[0], model.chat.n_post) for p in pairs)
    with torch.inference_mode():
        runs = [
            _Run(model, pair, sites, chosen, score_for(metric, pair.category)).scores(seed)
            for pair, seed in _with_seeds(pairs, placebo, progress)
        ]
    return PatchMap(
        sites=tuple(sites),
        offsets=chosen,
        tokens=_tokens(model, pairs, chosen),
        pairs=tuple(p.name for p in pairs),
        categories=tuple(p.category for p in pairs),
        alignment=alignment,
        scored_by=tuple(name_of(score_for(metric, p.category)) for p in pairs),
        patched=torch.stack([r.patched for r in runs]),
        placebo=torch.stack([r.placebo for r in runs]),
        clean=torch.tensor([r.clean for r in runs]),
        corrupt=torch.tensor([r.corrupt for r in runs]),
        control=placebo,
        provenance=model.provenance(),
    )


@final
@dataclass(frozen=True, eq=False)
class Tapped:
    """A pair's activations at the patched offsets, and its scores, in one pass.

    Rows are (clean, corrupt).
    """

    seen: dict[str, Tensor]
    scores: Float[Tensor, " 2"]

    @classmethod
    def read(
        cls,
        model: LensModel,
        pair: Pair,
        names: Sequence[str],
        offsets: Sequence[int],
        metric: Score,
    ) -> "Tapped":
        """Run both prompts and read the hook points `names`."""
        feed = feed_of(model, [pair.clean, pair.corrupt])
        found: list[dict[str, Tensor]] = [{}, {}]
        scores = torch.zeros(2)

        def read(batch: Batch) -> tuple[Tap, Tensor]:
            tap = Tap(names, positions_of(batch, offsets, len(feed.prefix.ids)))
            with feed.backend.hooks(tap.hooks()):
                return tap, read_scores(metric, feed.prefix, batch)

        for batch, (tap, score) in feed.batches(read):
            scores[list(batch.rows)] = score
            for i, row in enumerate(batch.rows):
                found[row] = {name: x[i] for name, x in tap.seen.items()}
        seen = {name: torch.stack([found[0][name], found[1][name]]) for name in found[0]}
        return cls(seen, scores)


def random_value(
    site: PatchSite, seen: dict[str, Tensor], offsets: Sequence[int], generator: torch.Generator
) -> Float[Tensor, "offset ..."]:
    """The benign activation plus a random vector as long as the difference at each offset."""
    clean, corrupt = (value_at(site, seen, row, offsets) for row in (0, 1))
    noise = torch.randn(corrupt.shape, generator=generator)
    flat = [len(noise), *[1] * (noise.ndim - 1)]
    length = (clean - corrupt).flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
    return corrupt + noise * length.reshape(flat)


@final
@dataclass(frozen=True, eq=False)
class _Scores:
    patched: Float[Tensor, " site"]
    placebo: Float[Tensor, " site"]
    clean: float
    corrupt: float


@final
class _Run:
    """One pair: what is patched in, and the benign prompt's end behind the rest of it."""

    def __init__(
        self,
        model: LensModel,
        pair: Pair,
        sites: Sequence[PatchSite],
        offsets: tuple[int, ...],
        metric: Score,
    ) -> None:
        self.sites, self.offsets, self.metric = sites, offsets, metric
        self.names = tuple(dict.fromkeys(s.hook_name for s in sites))
        self.tapped = Tapped.read(model, pair, self.names, offsets, metric)
        self.rows = model.rows
        self.endings = Endings(model.backend, pair.corrupt)

    def scores(self, seed: int | None) -> _Scores:
        """Scores with each site patched, and, given a seed, with the placebo in its place."""
        seen = self.tapped.seen
        patched = self._patched([value_at(s, seen, 0, self.offsets) for s in self.sites])
        placebo = torch.full_like(patched, nan)
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            placebo = self._patched(
                [random_value(s, seen, self.offsets, generator) for s in self.sites]
            )
        clean, corrupt = self.tapped.scores.tolist()
        return _Scores(patched, placebo, clean, corrupt)

    def _patched(self, values: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, " site"]:
        found = torch.zeros(len(values))
        starts = [
            self.endings.start_of(self.offsets[0] if s.offset is None else s.offset)
            for s in self.sites
        ]
        for start, own in _passes(starts).items():

            def score(chunk: list[int], start: int = start) -> Float[Tensor, " row"]:
                first = torch.full((len(chunk),), self.offsets[0] - start)
                hooks = PatchHooks(self.offsets, first)
                for row, i in enumerate(chunk):
                    hooks.write(row, self.sites[i], values[i])
                return self.endings.scores(self.metric, start, len(chunk), hooks.hooks())

            # Rows of a few tokens, behind one cache: more of them than prompts fit.
            for chunk, scores in in_batches([[i] for i in own], self.rows, score, times=2):
                found[chunk] = scores
        return found


def _passes(starts: Sequence[int]) -> dict[int, list[int]]:
    """Which rows run together, by the offset that they run from.

    A row may run from before its own site. A few rows do, where the tokens that this costs are
    fewer than those that a pass of its own does.
    """
    passes: dict[int, list[int]] = {}
    for start in sorted(set(starts)):
        own = [i for i, s in enumerate(starts) if s == start]
        before = max(passes, default=start)
        joined = before if len(own) * (start - before) <= _A_PASS else start
        passes.setdefault(joined, []).extend(own)
    return passes


def _window(offsets: Sequence[int]) -> tuple[int, ...]:
    chosen = tuple(sorted(set(offsets)))
    if not chosen or chosen[-1] >= 0:
        raise InputError(f"offsets {list(offsets)} must be negative: -1 is the last token")
    return chosen


def _tokens(model: LensModel, pairs: Sequence[Pair], offsets: Sequence[int]) -> tuple[str, ...]:
    found = [{p.corrupt[o] for p in pairs} for o in offsets]
    return tuple(model.chat.strings([*ids])[0] if len(ids) == 1 else "…" for ids in found)


def _with_seeds(
    pairs: Sequence[Pair], placebo: Placebo, progress: Progress
) -> Iterator[tuple[Pair, int | None]]:
    """Each pair with the seed of its placebo, if it is among the first of its category."""
    taken: dict[str, int] = {}
    for i, pair in enumerate(pairs):
        n = taken.setdefault(pair.category, 0)
        taken[pair.category] = n + 1
        yield pair, placebo.seed * 1_000_003 + i if n < placebo.pairs else None
        progress(1)


def _estimate(values: Float[Tensor, " pair"], placebo: Float[Tensor, " pair"]) -> Estimate:
    kept = values[~torch.isnan(values)]
    other = placebo[~torch.isnan(placebo)]
    found = mean_estimate(kept.tolist(), float(other.mean()) if len(other) else None)
    method = (
        f"mean recovery, t interval over pairs; {len(values) - len(kept)} with a gap under "
        f"{LEAST_GAP:g} nat left out; control: random difference of equal length, n={len(other)}"
    )
    return replace(found, method=method)

"""Activation patching between a should-refuse prompt and its matched benign prompt.

The benign prompt (corrupt) runs with one activation replaced by that of the should-refuse prompt
(clean); recovery is (patched - corrupt) / (clean - corrupt) in refusal score: 0 nothing, 1 all of
it (Zhang and Nanda 2024, section 2). A patch at the prompt's end leaves every token before it as
it was: those run once per pair, and many sites share a batch, one per row, continuing that cache.

Under an edit the patch runs in the edited model. An activation is read as its hook point shows it
behind the edits, and takes its place there; conditions are decided on each prompt by itself,
before anything is patched.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import ClassVar, Final, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from refusal_lens.attribution.activations import PairActivations, random_value
from refusal_lens.attribution.pairs import CLEAN, CORRUPT, Pair, pair_feed
from refusal_lens.attribution.patch_sites import PatchHooks, PatchSite, check_patch_sites, value_at
from refusal_lens.attribution.score import (
    Score,
    rerun_scores,
    rows_at_once,
    score_for,
    score_name,
)
from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.memory import in_batches
from refusal_lens.model import Feed, LensModel, Rerun
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.records import Estimate, Provenance, Record

LEAST_GAP: Final = 1.0  # nats; over a smaller gap between clean and corrupt a share means nothing
_A_PASS: Final = 40  # tokens that cost as much as starting one more pass


@final
@dataclass(frozen=True)
class Placebo:
    """The random-vector control of a patch, at the first `pairs` pairs of each category.

    The corrupt activation plus a random vector (isotropic, from `seed`), as long at each offset
    as the difference that is really patched in.

    >>> Placebo(pairs=0)  # no control
    Placebo(pairs=0, seed=0)
    """

    pairs: int = 2
    seed: int = 0


@final
@dataclass(frozen=True, eq=False)
class PatchMap(Record):
    """Refusal scores (nats) of benign prompts with one activation of their should-refuse twin.

    Positive is towards refusal. `corrupt[pair]` is the score of the benign prompt as it is,
    `clean[pair]` that of the should-refuse prompt, `patched[pair, site]` that of the benign prompt
    with the patch. `placebo` is that with the random-vector control, NaN for pairs without one.
    The recovered share of a site is (patched - corrupt) / (clean - corrupt). `alignment` says for
    each pair how its positions correspond, and `scored_by` which log-odds its score is; `tokens`
    are the benign prompts' at `offsets`, "…" where they differ.

    >>> from refusal_lens.attribution import pairs_of, writer_sites
    >>> pairs = pairs_of(model, prompts, equal_length=False, most=2)
    >>> patches = patch(model, pairs, writer_sites([1]), lambda logits: logits[:, 7])
    >>> [site.point for site in patches.sites], len(patches.estimates("advice"))
    (['attn_out', 'mlp_out'], 2)
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
        kept = self.of(category)
        recovery, placebo = self.recovery[kept], self.placebo_recovery[kept]
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
    progress: Progress = NO_PROGRESS,
) -> PatchMap:
    """Patch every site of every pair; `offsets` are by default the template's end.

    `metric` is one score, or one for each category. Progress counts pairs. Edits that are on stay
    on, in clean and corrupt runs; a `PerRow` holds one edit for each prompt: clean and corrupt of
    each pair in turn.

    Raises:
        InputError: no pair; a site or offset that the model or a pair does not have; offsets
            before the template's end in a pair of unequal length; a `PerRow` for another number
            of prompts; `attn_out` of a layer whose `resid_mid` is edited.

    >>> pairs = rl.pairs_of(model, prompts, equal_length=False, most=1)
    >>> patches = patch(model, pairs, rl.stream_sites([1, 2], [-1]), lambda logits: logits[:, 7])
    >>> patches.recovery.shape == (3, 2)
    True
    """
    chosen = patch_offsets(offsets or model.chat.offsets)
    feed = pair_feed(model, pairs)
    check_patch_sites(sites, chosen, feed)
    alignment = tuple(p.alignment(-chosen[0], model.chat.n_post) for p in pairs)
    with torch.inference_mode():
        runs = [
            _Run(feed, i, sites, chosen, score_for(metric, pairs[i].category)).scores(seed)
            for i, seed in _with_seeds(pairs, placebo, progress)
        ]
    return PatchMap(
        sites=tuple(sites),
        offsets=chosen,
        tokens=_tokens(model, pairs, chosen),
        pairs=tuple(p.name for p in pairs),
        categories=tuple(p.category for p in pairs),
        alignment=alignment,
        scored_by=tuple(score_name(score_for(metric, p.category)) for p in pairs),
        patched=torch.stack([r.patched for r in runs]),
        placebo=torch.stack([r.placebo for r in runs]),
        clean=torch.tensor([r.clean for r in runs]),
        corrupt=torch.tensor([r.corrupt for r in runs]),
        control=placebo,
        provenance=model.provenance(),
    )


def patch_offsets(offsets: Sequence[int]) -> tuple[int, ...]:
    """The offsets that are patched at, each once and in order.

    >>> patch_offsets([-1, -3, -1])
    (-3, -1)

    Raises:
        InputError: none, or one that is not counted from the end.
    """
    chosen = tuple(sorted(set(offsets)))
    if not chosen or chosen[-1] >= 0:
        raise InputError(f"offsets {list(offsets)} must be negative: -1 is the last token")
    return chosen


@final
@dataclass(frozen=True, eq=False)
class _Scores:
    patched: Float[Tensor, " site"]
    placebo: Float[Tensor, " site"]
    clean: float
    corrupt: float


@final
class _Run:
    """One pair: what is patched in, and the corrupt prompt's end behind the rest of it."""

    def __init__(
        self,
        feed: Feed,
        pair: int,
        sites: Sequence[PatchSite],
        offsets: tuple[int, ...],
        metric: Score,
    ) -> None:
        self.sites, self.offsets, self.metric = sites, offsets, metric
        names = tuple(dict.fromkeys(s.hook_name for s in sites))
        self.activations = PairActivations.read(feed, pair, names, offsets, metric)
        self.size = feed.size
        self.rerun = Rerun(feed, 2 * pair + CORRUPT)

    def scores(self, seed: int | None) -> _Scores:
        """Scores with each site patched, and, given a seed, with the placebo in its place."""
        values = self.activations.values
        patched = self._patched([value_at(s, values, CLEAN, self.offsets) for s in self.sites])
        placebo = torch.full_like(patched, nan)
        if seed is not None:
            generator = torch.Generator().manual_seed(seed)
            placebo = self._patched(
                [random_value(s, values, self.offsets, generator) for s in self.sites]
            )
        clean, corrupt = self.activations.scores.tolist()
        return _Scores(patched, placebo, clean, corrupt)

    def _patched(self, values: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, " site"]:
        scores = torch.zeros(len(values))
        starts = [
            self.rerun.start_of(self.offsets[0] if s.offset is None else s.offset)
            for s in self.sites
        ]
        for start, rows in _passes(starts).items():

            def score(chunk: list[int], start: int = start) -> Float[Tensor, " row"]:
                first = torch.full((len(chunk),), self.offsets[0] - start)
                hooks = PatchHooks(self.offsets, first)
                for row, i in enumerate(chunk):
                    hooks.write(row, self.sites[i], values[i])
                return rerun_scores(self.metric, self.rerun, start, len(chunk), hooks.hooks())

            # Rows of a few tokens, behind one cache: more of them than prompts fit.
            cap = rows_at_once(self.metric)
            units = [[i] for i in rows]
            for chunk, chunk_scores in in_batches(units, self.size, score, times=2, cap=cap):
                scores[chunk] = chunk_scores
        return scores


def _passes(starts: Sequence[int]) -> dict[int, list[int]]:
    """Which rows run together, by the offset that they run from.

    A row may run from before its own site. A few rows do, where the tokens that this costs are
    fewer than those that a pass of its own does.
    """
    passes: dict[int, list[int]] = {}
    for start in sorted(set(starts)):
        rows = [i for i, s in enumerate(starts) if s == start]
        before = max(passes, default=start)
        joined = before if len(rows) * (start - before) <= _A_PASS else start
        passes.setdefault(joined, []).extend(rows)
    return passes


def _tokens(model: LensModel, pairs: Sequence[Pair], offsets: Sequence[int]) -> tuple[str, ...]:
    ids_at = [{p.corrupt[o] for p in pairs} for o in offsets]
    return tuple(model.chat.strings([*ids])[0] if len(ids) == 1 else "…" for ids in ids_at)


def _with_seeds(
    pairs: Sequence[Pair], placebo: Placebo, progress: Progress
) -> Iterator[tuple[int, int | None]]:
    """Each pair's number with the seed of its placebo, if it is among the first of its category."""
    taken: dict[str, int] = {}
    for i, pair in enumerate(pairs):
        n = taken.setdefault(pair.category, 0)
        taken[pair.category] = n + 1
        yield i, placebo.seed * 1_000_003 + i if n < placebo.pairs else None
        progress(1)


def _estimate(values: Float[Tensor, " pair"], placebo: Float[Tensor, " pair"]) -> Estimate:
    kept = values[~torch.isnan(values)]
    other = placebo[~torch.isnan(placebo)]
    mean = mean_estimate(kept.tolist(), float(other.mean()) if len(other) else None)
    method = (
        f"mean recovery, t interval over pairs; {len(values) - len(kept)} with a gap under "
        f"{LEAST_GAP:g} nat left out; control: random difference of equal length, n={len(other)}"
    )
    return replace(mean, method=method)

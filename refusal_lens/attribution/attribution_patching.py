"""Attribution patching: a first-order estimate of every patch from one backward pass.

(a_clean - a_corrupt) . dm/da at the corrupt prompt, summed over the activation (Nanda 2023;
Syed et al. 2023, equation 2): two forward passes and a backward one per pair, whatever the number
of sites. It approximates activation patching, and how closely is measured: see `patch_agreement`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isnan
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.attribution.activations import read_and_score
from refusal_lens.attribution.gradients import rows_that_fit, score_gradient
from refusal_lens.attribution.pairs import CLEAN, CORRUPT, Pair, pair_feed
from refusal_lens.attribution.patch_sites import PatchSite, check_patch_sites, value_at
from refusal_lens.attribution.patching import LEAST_GAP, PatchMap, patch_offsets
from refusal_lens.attribution.score import Score, score_for
from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.model import Batch, Feed, LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.records import Estimate, Provenance, Record


@final
@dataclass(frozen=True, eq=False)
class AttributionPatch(Record):
    """Estimated change of the refusal score (nats) for each patch of each pair.

    Positive is towards refusal. `clean` and `corrupt` are the real scores of the two prompts.

    >>> from refusal_lens.attribution import pairs_of, writer_sites
    >>> sites = writer_sites(range(model.n_layers))
    >>> pairs = pairs_of(model, prompts, equal_length=False, most=1)
    >>> estimated = attribution_patch(model, pairs, sites, lambda logits: logits[:, 7])
    >>> estimated.estimate.shape == (3, 6)
    True
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    sites: tuple[PatchSite, ...]
    offsets: tuple[int, ...]
    pairs: tuple[str, ...]
    categories: tuple[str, ...]
    alignment: tuple[str, ...]
    estimate: Float[Tensor, "pair site"]
    clean: Float[Tensor, " pair"]
    corrupt: Float[Tensor, " pair"]
    provenance: Provenance

    def estimates(self, category: str | None = None) -> tuple[Estimate, ...]:
        """Mean share of the gap at each site, t interval over pairs with a gap of 1 nat or more."""
        gap = self.clean - self.corrupt
        kept = torch.tensor([category in (None, c) for c in self.categories]) & (gap >= LEAST_GAP)
        share = (self.estimate / gap[:, None])[kept]
        method = "first-order estimate of recovery, t interval over pairs; see its agreement"
        return tuple(
            replace(mean_estimate(share[:, s].tolist()), method=method)
            for s in range(len(self.sites))
        )


def attribution_patch(
    model: LensModel,
    pairs: Sequence[Pair],
    sites: Sequence[PatchSite],
    metric: Score | Mapping[str, Score],
    *,
    offsets: Sequence[int] | None = None,
    progress: Progress = NO_PROGRESS,
) -> AttributionPatch:
    """Estimate every site of every pair; arguments, edits that are on, and errors as in `patch`.

    Gradients are on inside this function only; the model's weights need none. Memory is bounded:
    see `gradients`.

    >>> from refusal_lens.attribution import pairs_of, stream_sites
    >>> pairs = pairs_of(model, prompts, equal_length=False, most=1)
    >>> sites = stream_sites([1, 2], [-1])
    >>> estimated = attribution_patch(model, pairs, sites, lambda logits: logits[:, 7])
    >>> estimated.sites == sites
    True
    """
    chosen = patch_offsets(offsets or model.chat.offsets)
    feed = pair_feed(model, pairs)
    check_patch_sites(sites, chosen, feed)
    alignment = tuple(p.alignment(-chosen[0], model.chat.n_post) for p in pairs)
    with torch.inference_mode(False), torch.no_grad():
        estimate, scores = torch.zeros(len(pairs), len(sites)), torch.zeros(len(pairs), 2)
        # A prefix that was computed in inference mode can't be part of a graph.
        for rows in _rows(feed.anew(), pairs, sites, metric, chosen):
            for row in rows:
                estimate[row.pair], scores[row.pair] = row.estimate, row.scores
                progress(1)
    return AttributionPatch(
        sites=tuple(sites),
        offsets=chosen,
        pairs=tuple(p.name for p in pairs),
        categories=tuple(p.category for p in pairs),
        alignment=alignment,
        estimate=estimate,
        clean=scores[:, CLEAN].clone(),
        corrupt=scores[:, CORRUPT].clone(),
        provenance=model.provenance(),
    )


@final
@dataclass(frozen=True)
class PatchAgreement(Record):
    """Correlation of attribution patching with activation patching, over `n_sites` sites.

    Pearson's, of the estimated and the real change of the score: one correlation per pair. `n` of
    an estimate counts pairs, never sites: those of a pair share its two prompts, so they are not
    independent. The mean over pairs with its t interval, which speaks of more pairs of these
    categories, not of other categories; 0 (control) is what sites in random order would give.
    Pairs in which nothing changes have no correlation and are left out.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    overall: Estimate
    by_category: dict[str, Estimate]
    n_sites: int


def patch_agreement(estimated: AttributionPatch, real: PatchMap) -> PatchAgreement:
    """Correlation of attribution patching with activation patching of the same pairs and sites.

    Raises:
        InputError: the two do not hold the same pairs, sites and offsets, or fewer than three
            sites.

    >>> from refusal_lens.attribution import pairs_of, patch, writer_sites
    >>> pairs = pairs_of(model, prompts, equal_length=False, most=1)
    >>> sites, score = writer_sites(range(3)), lambda logits: logits[:, 7]
    >>> estimated = attribution_patch(model, pairs, sites, score)
    >>> patch_agreement(estimated, patch(model, pairs, sites, score)).overall.n
    3
    """
    # One name of a pair may stand in several categories.
    same = ("pairs", "categories", "sites", "offsets")
    differing = [name for name in same if getattr(estimated, name) != getattr(real, name)]
    if differing or len(estimated.sites) < 3:
        why = f"they differ in {differing[0]}" if differing else "there are too few sites"
        raise InputError(
            f"attribution patching of {len(estimated.pairs)} pairs at {len(estimated.sites)} sites "
            f"can't be compared with patching of {len(real.pairs)} pairs at {len(real.sites)} "
            f"sites ({why}): give both the same pairs, sites and offsets, at least three sites"
        )
    both = torch.stack([estimated.estimate, real.patched - real.corrupt[:, None]], dim=1)
    correlations = [float(torch.corrcoef(pair)[0, 1]) for pair in both]
    return PatchAgreement(
        overall=_mean(correlations),
        by_category={
            c: _mean([r for r, of in zip(correlations, real.categories, strict=True) if of == c])
            for c in dict.fromkeys(real.categories)
        },
        n_sites=len(estimated.sites),
    )


def _mean(correlations: Sequence[float]) -> Estimate:
    kept = [r for r in correlations if not isnan(r)]
    method = (
        "mean over pairs of each pair's correlation over sites, t interval over pairs; "
        f"{len(correlations) - len(kept)} without a change left out; control: sites in random order"
    )
    return replace(mean_estimate(kept, control=0.0), method=method)


@final
@dataclass(frozen=True, eq=False)
class _Row:
    """One pair's estimates at every site, and its scores (clean, corrupt)."""

    pair: int
    estimate: Float[Tensor, " site"]
    scores: Float[Tensor, " 2"]


def _rows(
    feed: Feed,
    pairs: Sequence[Pair],
    sites: Sequence[PatchSite],
    metric: Score | Mapping[str, Score],
    offsets: Sequence[int],
) -> Iterator[list[_Row]]:
    """Every pair's estimates, batch by batch; pairs that share a score share batches."""
    names = tuple(dict.fromkeys(s.hook_name for s in sites))
    scores = [score_for(metric, p.category) for p in pairs]
    for score in {id(s): s for s in scores}.values():
        units = [[2 * i + CLEAN, 2 * i + CORRUPT] for i, s in enumerate(scores) if s is score]
        n = rows_that_fit(feed, names, score, [unit[CORRUPT] for unit in units])
        work = partial(_batch, feed, sites, offsets, score)
        for _, rows in replace(feed, at_most=2 * n).batches(work, units):
            yield rows


def _batch(
    feed: Feed, sites: Sequence[PatchSite], offsets: Sequence[int], score: Score, batch: Batch
) -> list[_Row]:
    """The estimates of one batch of whole pairs; only its corrupt rows have a graph."""
    names = tuple(dict.fromkeys(s.hook_name for s in sites))
    clean, corrupt = (
        batch.chosen([i for i, row in enumerate(batch.rows) if row % 2 == side])
        for side in (CLEAN, CORRUPT)
    )
    source, clean_scores = read_and_score(feed, names, offsets, score, clean)
    x, gradient, corrupt_scores = score_gradient(feed, names, offsets, score, corrupt)
    both = torch.stack([clean_scores, corrupt_scores], dim=1)
    rows: list[_Row] = []
    for i, row in enumerate(corrupt.rows):
        estimates = [
            (value_at(site, source, i, offsets) - value_at(site, x, i, offsets))
            .mul(value_at(site, gradient, i, offsets))
            .sum()
            for site in sites
        ]
        rows.append(_Row(row // 2, torch.stack(estimates), both[i]))
    return rows

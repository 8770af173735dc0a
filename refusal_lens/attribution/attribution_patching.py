"""Attribution patching: a first-order estimate of every patch from one backward pass.

(a_clean - a_corrupt) . dm/da at the benign prompt, summed over the activation (Nanda 2023;
Syed et al. 2023, equation 2): two forward passes and a backward one a pair, whatever the number
of sites. It is a guess about patching, so its agreement with real patches is measured.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isnan
from typing import Any, ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.attribution.pairs import Pair
from refusal_lens.attribution.passes import Tap, feed_of, positions_of, silent
from refusal_lens.attribution.patch_sites import PatchSite, check_patch_sites, value_at
from refusal_lens.attribution.patching import LEAST_GAP, PatchMap
from refusal_lens.attribution.score import OpeningScore, Score, opening_log_p, score_for
from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate
from refusal_lens.model import LensModel
from refusal_lens.model.batch import Batch
from refusal_lens.model.forward import Feed, Progress, last_token_logits
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.sites import Site

_Both = tuple[dict[str, Tensor], dict[str, Tensor], Tensor]


@final
@dataclass(frozen=True, eq=False)
class AttributionPatch(Record):
    """Estimated change of the refusal score (nats) for each patch of each pair.

    `clean` and `corrupt` are the real scores of the two prompts.
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
        own = torch.tensor([category in (None, c) for c in self.categories]) & (gap >= LEAST_GAP)
        share = (self.estimate / gap[:, None])[own]
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
    progress: Progress = silent,
) -> AttributionPatch:
    """Estimate every site of every pair; arguments and errors as in `patch`.

    Gradients are on inside this function only; the model's weights need none.
    """
    chosen = tuple(sorted(offsets or model.chat.offsets))
    check_patch_sites(sites, chosen, model.n_layers, model.backend.hook_names())
    alignment = tuple(p.alignment(-chosen[0], model.chat.n_post) for p in pairs)
    names = tuple(dict.fromkeys(s.hook_name for s in sites))
    ids = [ids for p in pairs for ids in (p.clean, p.corrupt)]
    with torch.inference_mode(False), torch.no_grad():
        feed = feed_of(model, ids)
        estimate = torch.zeros(len(pairs), len(sites))
        scores = torch.zeros(len(ids))
        for batch, (x, gradient, found) in _batches(feed, pairs, metric, names, chosen):
            scores[list(batch.rows)] = found
            place = {row: i for i, row in enumerate(batch.rows)}
            for k in sorted({row // 2 for row in batch.rows}):
                clean, corrupt = place[2 * k], place[2 * k + 1]
                for s, site in enumerate(sites):
                    d = value_at(site, x, clean, chosen) - value_at(site, x, corrupt, chosen)
                    estimate[k, s] = (d * value_at(site, gradient, corrupt, chosen)).sum()
                progress(1)
    return AttributionPatch(
        sites=tuple(sites),
        offsets=chosen,
        pairs=tuple(p.name for p in pairs),
        categories=tuple(p.category for p in pairs),
        alignment=alignment,
        estimate=estimate,
        clean=scores[0::2],
        corrupt=scores[1::2],
        provenance=model.provenance(),
    )


@final
@dataclass(frozen=True)
class Agreement(Record):
    """Pearson correlation over `n_sites` sites of estimated and real change of the score.

    One correlation a pair; `n` of an estimate counts pairs, never sites: those of a pair share
    its two prompts, so they are no observations of their own. The mean over pairs with its t
    interval, which speaks of more pairs of these categories, not of other categories; 0 (control)
    is what sites in random order would give. Pairs in which nothing changes have no correlation
    and are left out.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    overall: Estimate
    by_category: dict[str, Estimate]
    n_sites: int


def agreement(fast: AttributionPatch, real: PatchMap) -> Agreement:
    """How well attribution patching foretold patching, on the same pairs and sites.

    Raises:
        InputError: the two do not hold the same pairs and sites, or fewer than three sites.
    """
    if (fast.sites, fast.pairs) != (real.sites, real.pairs) or len(fast.sites) < 3:
        raise InputError(
            f"attribution patching of {len(fast.pairs)} pairs at {len(fast.sites)} sites can't be "
            f"compared with patching of {len(real.pairs)} pairs at {len(real.sites)} sites: give "
            "both the same pairs and sites, at least three"
        )
    both = torch.stack([fast.estimate, real.patched - real.corrupt[:, None]], dim=1)
    found = [float(torch.corrcoef(pair)[0, 1]) for pair in both]
    return Agreement(
        overall=_mean(found),
        by_category={
            c: _mean([r for r, own in zip(found, real.categories, strict=True) if own == c])
            for c in dict.fromkeys(real.categories)
        },
        n_sites=len(fast.sites),
    )


def _mean(correlations: Sequence[float]) -> Estimate:
    kept = [r for r in correlations if not isnan(r)]
    method = (
        "mean over pairs of each pair's correlation over sites, t interval over pairs; "
        f"{len(correlations) - len(kept)} without a change left out; control: sites in random order"
    )
    return replace(mean_estimate(kept, control=0.0), method=method)


def _batches(
    feed: Feed,
    pairs: Sequence[Pair],
    metric: Score | Mapping[str, Score],
    names: Sequence[str],
    offsets: Sequence[int],
) -> Iterator[tuple[Batch, _Both]]:
    """Batches of whole pairs that share a score, and what `_both` finds in each."""
    scores = [score_for(metric, p.category) for p in pairs]
    for score in {id(s): s for s in scores}.values():
        units = [[2 * i, 2 * i + 1] for i, own in enumerate(scores) if own is score]
        yield from feed.batches(partial(_both, feed, names, offsets, score), units)


def _both(
    feed: Feed, names: Sequence[str], offsets: Sequence[int], score: Score, batch: Batch
) -> _Both:
    """Activations and gradients of the score by hook point at the offsets, and the scores.

    Each opening has a pass of its own, in which the prompt's activations are the same: their
    gradients add up.
    """
    positions = positions_of(batch, offsets, len(feed.prefix.ids))
    taps: list[Tap] = []

    def tapped(run: Callable[[], Tensor]) -> Tensor:
        taps.append(Tap(names, positions, live=True))
        with feed.backend.hooks([_leaf(), *taps[-1].hooks()]):
            return run()

    with torch.enable_grad():
        if isinstance(score, OpeningScore):
            passes = [partial(opening_log_p, feed.prefix, batch, o) for o in score.openings]
            scores = score.of([tapped(run) for run in passes])
        else:
            scores = score(tapped(lambda: last_token_logits(feed.prefix, batch)[0]))
        live = [[tap.seen[name] for name in names] for tap in taps]
        flat = torch.autograd.grad(scores.sum(), [x for row in live for x in row])
    n = len(names)
    x = {name: taps[0].at_positions(t) for name, t in zip(names, live[0], strict=True)}
    found = {
        name: torch.stack([taps[0].at_positions(g) for g in flat[k::n]]).sum(0)
        for k, name in enumerate(names)
    }
    return x, found, scores.detach().float().cpu()


def _leaf() -> tuple[str, Any]:
    """Gradients begin at what enters block 0: no weight needs one."""

    def function(resid: Tensor, hook: Any) -> Tensor:
        del hook
        return resid.detach().requires_grad_(True)

    return Site(0).hook_name, function

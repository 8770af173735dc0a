"""Patches between refuse-side prompts and their twins."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from statistics import fmean
from typing import Final

from refusal_lens.attribution import (
    AttributionPatch,
    Pair,
    PatchAgreement,
    PatchMap,
    PatchSite,
    attribution_patch,
    head_sites,
    pairs_of,
    patch,
    patch_agreement,
    shared_offsets,
    stream_sites,
    writer_sites,
)
from refusal_lens.attribution.components import Anatomy
from refusal_lens.attribution.score import OpeningScore, score_for
from refusal_lens.errors import InputError
from refusal_lens.progress import Progress
from refusal_lens.study.attributed import REACH, Reach, measured, planned, twins_only
from refusal_lens.study.fitted import Gap
from refusal_lens.study.key import Key
from refusal_lens.study.scored import patched_categories, scores_of
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work

FAST: Final = Key("patching", "fast", AttributionPatch)
PATCHES: Final = Key("patching", "patches", PatchMap)
PATCH_AGREEMENT: Final = Key("patching", "agreement", PatchAgreement)
NOT_SCORED: Final = (
    "in no category does the first token, or an opening, tell refusals from answers: patching "
    "reads them"
)
"""Why nothing is patched where no score stands for a read answer."""

_GRADIENT: Final = 8  # passes for a prompt's forward and backward pass with every site read
_A_TOKEN: Final = 0.05  # passes for one token that runs again behind a patch, placebos included


def patching(bench: Bench, tick: Progress, *, reach: Reach) -> Records:
    """Patches between refuse-side prompts and their twins, real ones and first-order estimates."""
    pairs, model = patch_pairs(bench, reach), bench.model
    offsets = reach_offsets(bench, reach)
    metric = scores_of(bench, [p.category for p in pairs])
    heads = head_sites(Anatomy(model.backend), range(model.n_layers))
    others = patch_sites(bench, reach)
    sites = (*heads, *others) if not reach.whole else others
    fast = attribution_patch(model, pairs, sites, metric, offsets=offsets, progress=tick)
    real = patch(model, pairs, others, metric, offsets=offsets, progress=tick)
    return {
        FAST: fast,
        PATCHES: real,
        PATCH_AGREEMENT: patch_agreement(_at(fast, others), real),
    }


def patch_pairs(bench: Bench, reach: Reach) -> tuple[Pair, ...]:
    """Test pairs of equal token length; where there is none, pairs that share only their end."""
    categories = patched_categories(bench)
    if not categories:
        raise Gap(NOT_SCORED)
    test = twins_only(bench.prompts.only(split="test", category=categories))
    with suppress(InputError):
        return pairs_of(bench.model, test, most=reach.patch_pairs)
    try:
        return pairs_of(bench.model, test, most=reach.patch_pairs, equal_length=False)
    except InputError as error:
        raise Gap(str(error)) from None


def reach_offsets(bench: Bench, reach: Reach) -> tuple[int, ...]:
    """The template's end, or all that pairs of equal length share."""
    pairs = patch_pairs(bench, reach)
    if reach.whole and all(p.equal_length for p in pairs):
        return shared_offsets(bench.model, pairs)
    return bench.model.chat.offsets


def patch_sites(bench: Bench, reach: Reach) -> tuple[PatchSite, ...]:
    """What is really patched: blocks at all offsets, the stream at each; with `whole` heads too."""
    model = bench.model
    layers = bench.study.layers_of(model.n_layers, reach.stream_layers)
    known = model.backend.hook_names()  # a block of a state space alone has no MLP
    sites = (
        *(s for s in writer_sites(range(model.n_layers)) if s.hook_name in known),
        *stream_sites(layers, reach_offsets(bench, reach)),
    )
    return (
        (*head_sites(Anatomy(model.backend), range(model.n_layers)), *sites)
        if reach.whole
        else sites
    )


def _at(fast: AttributionPatch, sites: tuple[PatchSite, ...]) -> AttributionPatch:
    """The estimates at these sites only."""
    columns = [fast.sites.index(s) for s in sites]
    return replace(fast, sites=sites, estimate=fast.estimate[:, columns])


def _openings(bench: Bench, pairs: Sequence[Pair]) -> float:
    """How many openings are read per score, on average over pairs; a first token counts as one."""
    scores = scores_of(bench, [p.category for p in pairs])
    read = [score_for(scores, p.category) for p in pairs]
    return fmean(len(s.openings) if isinstance(s, OpeningScore) else 1 for s in read)


def _stage(suffix: str, reach: Reach) -> Stage:
    def tokens_behind(bench: Bench) -> list[tuple[PatchSite, int]]:
        return [(s, o) for s in patch_sites(bench, reach) for o in reach_offsets(bench, reach)]

    def work(bench: Outline) -> Work:
        pairs = planned(lambda: patch_pairs(measured(bench), reach))
        tokens = planned(lambda: tokens_behind(measured(bench)))
        passes = (2 * _GRADIENT + _A_TOKEN * len(tokens)) / 2
        return Work(2 * len(pairs), passes * (_openings(measured(bench), pairs) if pairs else 1))

    return Stage(
        f"patching{suffix}",
        "patches from refuse-side prompts into their twins",
        run=partial(patching, reach=reach),
        work=work,
        writes=(FAST, PATCHES, PATCH_AGREEMENT),
        needs=("score",),
        parameters=asdict(reach),
        plan="attribution",
        family="patching",
        asked_for=lambda full, shown: full == reach.whole,
        place=330,
    )


STAGES: Final = tuple(_stage(suffix, reach) for suffix, reach in REACH.items())

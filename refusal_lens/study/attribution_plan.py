"""The order of the attribution stages, and what each costs."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Final

from refusal_lens.attribution import (
    AttributionPatch,
    ComponentMatrix,
    Decomposition,
    DepthProfile,
    HeadPath,
    HeadSources,
    KnockOut,
    NeuronShares,
    PatchAgreement,
    PatchMap,
    SourceRegions,
    TokenMap,
)
from refusal_lens.attribution.knock_out import REPLACEMENTS
from refusal_lens.attribution.logit_lens import LensProfile
from refusal_lens.attribution.probe import ProbeProfile
from refusal_lens.geometry import MatrixCorrelation
from refusal_lens.study import attribution_paths
from refusal_lens.study import attribution_stages as stages
from refusal_lens.study.attribution_paths import Trail
from refusal_lens.study.attribution_stages import Reach
from refusal_lens.study.stages import Bench, Gap, Stage

FULL: Final = "_full"  # stands behind the names of stages that measure the whole maps
_REACH: Final = {"": Reach(), FULL: Reach.full()}
_TRAIL: Final = {"": Trail(), FULL: Trail.full()}
_CUTS: Final = {"": "mean"} | {f"_{r}": r for r in REPLACEMENTS if r != "mean"}
_GRADIENT: Final = 8  # passes for a prompt's forward and backward pass with every site read
_A_TOKEN: Final = 0.05  # passes for one token that runs again behind a patch, placebos included
_PART: Final = 4  # passes for a pair's paths, a prompt's sources or its neurons: small batches
_CURVE: Final = 28  # counts times (own order and three random ones) of a knock-out


def attribution_stages(categories: Sequence[str]) -> tuple[Stage, ...]:
    """Every stage that `attribute` can run; the numbers in names count the run's categories."""
    return (
        Stage(
            "attribution",
            "what each part writes along each direction",
            ("directions", "geometry"),
            (Decomposition, ComponentMatrix, MatrixCorrelation),
            stages.attribution,
            lambda b: len(b.train),
            lambda b: 1,
            after=("selection",),
        ),
        Stage(
            "attribution_control",
            "the same in the control model",
            ("attribution",),
            (Decomposition,),
            stages.attribution_control,
            lambda b: len(b.train) if b.study.control or b.study.planted else 0,
            lambda b: 1,
        ),
        *(_patching(suffix, reach) for suffix, reach in _REACH.items()),
        *(_knock_out(i, c, suffix) for suffix in _CUTS for i, c in enumerate(categories)),
        _knock_out_pooled(),
        *(_paths(i, c, suffix) for suffix in _TRAIL for i, c in enumerate(categories)),
        *(_depth(suffix, reach) for suffix, reach in _REACH.items()),
        *(_answer_map(i, c) for i, c in enumerate(categories)),
    )


def chosen_stages(bench: Bench, category: str | None, *, full: bool) -> tuple[str, ...]:
    """Names of the stages to run.

    One category's writers are knocked out and followed by default; with `full` those of each and
    the pooled direction's, with everything that can take a writer's place.
    """
    every = bench.prompts.categories
    shown = category or _shown(bench)
    suffix = FULL if full else ""
    own = range(len(every)) if full else (every.index(shown),)
    return (
        "attribution",
        "attribution_control",
        f"patching{suffix}",
        *(f"knock_out{cut}_{i}" for cut in (_CUTS if full else ("",)) for i in own),
        *(("knock_out_pooled",) if full else ()),
        *(f"paths_{i}{suffix}" for i in own),
        f"depth{suffix}",
        f"answer_map_{every.index(shown)}",
    )


def _shown(bench: Bench) -> str:
    """The first category with a first-token score, else by openings, else the first of all."""
    scored, patched = stages.scored_categories(bench), stages.patched_categories(bench)
    return next(iter((*scored, *patched, *bench.prompts.categories)))


def _patching(suffix: str, reach: Reach) -> Stage:
    return Stage(
        f"patching{suffix}",
        "patches from refuse-side prompts into their twins",
        ("score",),
        (AttributionPatch, PatchMap, PatchAgreement),
        partial(stages.patching, reach=reach),
        lambda b: 2 * _n_pairs(b, reach),
        lambda b: (2 * _GRADIENT + _A_TOKEN * _n_tokens(b, reach)) / 2,
        sizes=asdict(reach),
    )


def _knock_out(i: int, category: str, suffix: str) -> Stage:
    replacement = _CUTS[suffix]
    return Stage(
        f"knock_out{suffix}_{i}",
        f"its strongest writers replaced ({replacement}): {category}",
        ("attribution", "directions", "score"),
        (KnockOut,),
        partial(attribution_paths.knocked_out, category=category, replacement=replacement),
        lambda b: _CURVE * len(attribution_paths.own_prompts(b, category)) // 2,
        lambda b: 2,
        after=("selection",),
    )


def _knock_out_pooled() -> Stage:
    return Stage(
        "knock_out_pooled",
        "the pooled direction's strongest writers replaced (mean)",
        ("directions", "score"),
        (Decomposition, KnockOut),
        attribution_paths.knocked_out_pooled,
        lambda b: len(b.train) + _CURVE * _n_pooled(b) // 2,
        lambda b: 1,
        after=("selection",),
    )


def _paths(i: int, category: str, suffix: str) -> Stage:
    trail = _TRAIL[suffix]
    return Stage(
        f"paths_{i}{suffix}",
        f"its strongest heads and MLP followed: {category}",
        ("attribution", "directions"),
        (HeadPath, HeadSources, NeuronShares, SourceRegions),
        partial(attribution_paths.paths, category=category, trail=trail),
        lambda b: (
            3 * _n_path_pairs(b, category, trail)
            + trail.mlps * len(attribution_paths.own_prompts(b, category))
        ),
        lambda b: _PART,
        after=("selection",),
        sizes=asdict(trail),
    )


def _depth(suffix: str, reach: Reach) -> Stage:
    return Stage(
        f"depth{suffix}",
        "probe, logit lens, steering and writing by layer",
        ("attribution", "directions", "score"),
        (DepthProfile, LensProfile, ProbeProfile),
        partial(stages.depth, reach=reach),
        lambda b: len(stages.held_out(b, reach)) + _n_probed(b, reach),
        lambda b: 3,
        after=("layers", "selection"),
        sizes=asdict(reach),
    )


def _answer_map(i: int, category: str) -> Stage:
    return Stage(
        f"answer_map_{i}",
        f"a prompt and its answer, token by layer: {category}",
        ("directions",),
        (TokenMap,),
        partial(stages.answer_maps, category=category),
        lambda b: 1,
        lambda b: stages.ANSWER_TOKENS,
    )


def _n_probed(bench: Bench, reach: Reach) -> int:
    return len(bench.study.layers_of(bench.model.n_layers, reach.probe_layers))


def _n_pairs(bench: Bench, reach: Reach) -> int:
    try:
        return len(stages.patch_pairs(bench, reach))
    except Gap:
        return 0


def _n_tokens(bench: Bench, reach: Reach) -> int:
    try:
        return len(stages.patch_sites(bench, reach)) * len(stages.patch_offsets(bench, reach))
    except Gap:
        return 0


def _n_pooled(bench: Bench) -> int:
    try:
        return len(attribution_paths.pooled_prompts(bench))
    except Gap:
        return 0


def _n_path_pairs(bench: Bench, category: str, trail: Trail) -> int:
    try:
        return len(attribution_paths.path_pairs(bench, category, trail))
    except Gap:
        return 0

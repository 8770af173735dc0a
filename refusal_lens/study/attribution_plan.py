"""The order of the attribution stages, and what each costs."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Final

from refusal_lens.attribution import (
    Agreement,
    AttributionPatch,
    ComponentMatrix,
    Decomposition,
    DepthProfile,
    KnockOut,
    MatrixCorrelation,
    PatchMap,
    TokenMap,
)
from refusal_lens.attribution.lens import LensProfile
from refusal_lens.attribution.probe import ProbeProfile
from refusal_lens.model.load import EMBEDDED
from refusal_lens.study import attribution_stages as stages
from refusal_lens.study.attribution_stages import Reach
from refusal_lens.study.stages import Bench, Gap, Stage

FULL: Final = "_full"  # stands behind the names of stages that measure the whole maps
_REACH: Final = {"": Reach(), FULL: Reach.full()}
_GRADIENT: Final = 4  # passes for a prompt's forward and backward pass with every site read
_A_SITE: Final = 0.9  # passes for one patch of one pair at the template's end
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
            lambda b: len(b.train) if b.study.control or b.study.source == EMBEDDED else 0,
            lambda b: 1,
        ),
        *(_patching(suffix, reach) for suffix, reach in _REACH.items()),
        *(_knock_out(i, c) for i, c in enumerate(categories)),
        *(_depth(suffix, reach) for suffix, reach in _REACH.items()),
        *(_answer_map(i, c) for i, c in enumerate(categories)),
    )


def chosen_stages(bench: Bench, category: str | None, *, full: bool) -> tuple[str, ...]:
    """Names of the stages to run: knock-outs of one category by default, of each with `full`."""
    every = bench.prompts.categories
    scored = stages.scored_categories(bench) or every
    shown = category or scored[0]
    knocked = every if full else (shown,)
    suffix = FULL if full else ""
    return (
        "attribution",
        "attribution_control",
        f"patching{suffix}",
        *(f"knock_out_{every.index(c)}" for c in knocked),
        f"depth{suffix}",
        f"answer_map_{every.index(shown)}",
    )


def _patching(suffix: str, reach: Reach) -> Stage:
    return Stage(
        f"patching{suffix}",
        "patches from refuse-side prompts into their twins",
        ("score",),
        (AttributionPatch, PatchMap, Agreement),
        partial(stages.patching, reach=reach),
        lambda b: 2 * _n_pairs(b, reach),
        lambda b: (2 * _GRADIENT + _A_SITE * _n_sites(b, reach)) / 2,
        sizes=asdict(reach),
    )


def _knock_out(i: int, category: str) -> Stage:
    return Stage(
        f"knock_out_{i}",
        f"its strongest writers replaced: {category}",
        ("attribution", "directions", "score"),
        (KnockOut,),
        partial(stages.knocked_out, category=category),
        lambda b: _CURVE * len(stages.held_out(b, Reach()).only(category=category)) // 2,
        lambda b: 2,
        after=("selection",),
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


def _n_sites(bench: Bench, reach: Reach) -> int:
    try:
        return len(stages.patch_sites(bench, reach))
    except Gap:
        return 0

"""The order of the stages."""

from collections.abc import Sequence
from typing import Final

from refusal_lens.study.attributed import FULL
from refusal_lens.study.scored import patched_categories, scored_categories
from refusal_lens.study.stage import Bench, Stage
from refusal_lens.study.stages import (
    agreement,
    answer_map,
    answers,
    attribution,
    attribution_control,
    behaviour,
    contrasts,
    control,
    costs,
    depth,
    directions,
    effects,
    full_grid,
    full_rates,
    geometry,
    knock_out,
    layers,
    manners,
    patching,
    paths,
    rules,
    score,
    selection,
    structure,
    tokens,
    trade_off,
)

STAGES: Final[tuple[Stage, ...]] = (
    behaviour.STAGE,
    directions.STAGE,
    geometry.STAGE,
    control.STAGE,
    contrasts.STAGE,
    score.STAGE,
    selection.STAGE,
    layers.STAGE,
    effects.STAGE,
    structure.STAGE,
    trade_off.STAGE,
    rules.STAGE,
    manners.STAGE,
    costs.STAGE,
    answers.STAGE,
    agreement.STAGE,
    tokens.STAGE,
)


def attribution_stages(categories: Sequence[str]) -> tuple[Stage, ...]:
    """Every stage that `attribute` can run; the numbers in names count the run's categories."""
    return (
        attribution.STAGE,
        attribution_control.STAGE,
        *patching.STAGES,
        *knock_out.stages(categories),
        *paths.stages(categories),
        *depth.STAGES,
        *answer_map.stages(categories),
    )


def full_stages() -> tuple[Stage, ...]:
    """The stages of the evaluation by generated answers.

    Their digests are the same whoever reads, so that a new study drops what holds no longer.
    """
    return full_rates.STAGE, full_grid.STAGE


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
        *(f"knock_out{cut}_{i}" for cut in (knock_out.CUTS if full else ("",)) for i in own),
        *(("knock_out_pooled",) if full else ()),
        *(f"paths_{i}{suffix}" for i in own),
        f"depth{suffix}",
        f"answer_map_{every.index(shown)}",
    )


def _shown(bench: Bench) -> str:
    """The first category with a first-token score, else by openings, else the first of all."""
    scored, patched = scored_categories(bench), patched_categories(bench)
    return next(iter((*scored, *patched, *bench.prompts.categories)))

"""What directions are compared on: test pairs, the directions themselves, and their controls."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

import torch

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.evaluation import (
    UNEDITED,
    Grid,
    Matched,
    Reading,
    match_refusal,
    measure_grid,
    whole_pairs,
)
from refusal_lens.evaluation.effects import CONTROLS
from refusal_lens.evaluation.grid import DirectionKind
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import Decoding, LensModel, allow_transfer
from refusal_lens.progress import Progress
from refusal_lens.prompts import LABELS, PromptSet
from refusal_lens.prompts.repeats import once_each
from refusal_lens.residuals import Residuals
from refusal_lens.study.fitted import POOLED, Gap, direction_at, pooled_set
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.outline import Outline
from refusal_lens.study.sizes import StageSizes, size
from refusal_lens.study.stage import Bench, Records, category_directions
from refusal_lens.study.stages.geometry import SHUFFLED as SHUFFLED_DIRECTIONS

RANDOM: Final = CONTROLS[0]
SHUFFLED: Final = CONTROLS[1]
WITHIN: Final = CONTROLS[2]
STEERED_AT: Final = 1.0
_SPREAD_PAIRS: Final = 10


@final
@dataclass(frozen=True)
class ComparedSizes(StageSizes):
    """Test pairs over all categories in turn, and strengths in lengths of the direction.

    200 pairs resolve a difference of about .05; 99 give a rate to within .10. At strength 2 even a
    short direction reaches the rates at which directions are compared.
    """

    trade_off_pairs: int = size(32, full=200, quick=6)
    strengths: tuple[float, ...] = size(
        (-1.0, 0.0, 0.5, 1.0, 2.0),
        full=(-2.0, -1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
        quick=(0.0, 1.0, 2.0),
    )


@final
@dataclass(frozen=True)
class ReadSizes(StageSizes):
    """Test pairs whose answers are generated and read under each direction, and their tokens."""

    manner_pairs: int = size(12, full=44, quick=4)
    manner_tokens: int = size(20, full=48, quick=16)


def compared_pairs(bench: Bench, most: int | None = None) -> PromptSet:
    """The test pairs on which directions are compared, by default as many as the trade-off takes.

    Raises:
        Gap: there are fewer than two.
    """
    pairs = compared_prompts(bench, most)
    if len(pairs) < 4:
        raise Gap(
            f"`test` holds {len(pairs) // 2} whole pairs, expected at least 2; give each "
            "refuse-side prompt its benign twin"
        )
    return pairs


def compared_prompts(bench: Outline, most: int | None = None) -> PromptSet:
    """The prompts of those pairs, however few there are."""
    most = bench.size(ComparedSizes).trade_off_pairs if most is None else most
    return whole_pairs(bench.prompts.only(split="test"), most)


def tested_prompts(bench: Outline, most: int) -> PromptSet:
    """At most so many pairs of `test`; prompts of either side where there are no pairs.

    Of prompts that say the same the first alone.
    """
    test = bench.prompts.only(split="test")
    if len(pairs := whole_pairs(test, most)):
        return PromptSet(once_each(pairs))
    test = PromptSet(once_each(test))
    return PromptSet(tuple(p for label in LABELS for p in bench.spread(test, label, most)))


def compared_names(bench: Outline) -> tuple[str, ...]:
    """The directions of a grid: each category's, the pooled one, and its controls."""
    return (*bench.prompts.categories, POOLED, *CONTROLS)


def grid_cells(bench: Outline, names: Sequence[str] | None = None) -> list[tuple[str, float]]:
    """What a grid answers each prompt under: unedited, and each direction at each strength.

    `names` are the directions, by default `compared_names`.
    """
    names = compared_names(bench) if names is None else names
    strengths = sorted(set(bench.size(ComparedSizes).strengths) - {0.0})
    return [(UNEDITED, 0.0), *((name, s) for name in names for s in strengths)]


def compared_directions(bench: Bench) -> list[tuple[Direction, DirectionKind]]:
    """Those of `compared_names` that are defined at the chosen layer, with their kind."""
    layer = chosen_layer(bench.results)
    pooled = direction_at(pooled_set(bench.results), POOLED, layer)
    kinds: tuple[tuple[DirectionKind, Sequence[Direction]], ...] = (
        ("direction", category_directions(bench, layer)),
        ("pooled", (pooled,)),
        ("control", controls(bench, pooled)),
    )
    by_name: dict[str, tuple[Direction, DirectionKind]] = {
        d.category: (d, kind) for kind, directions in kinds for d in directions
    }
    return [by_name[name] for name in compared_names(bench) if name in by_name]


def compared_grid(
    bench: Bench,
    model: LensModel,
    cases: Sequence[tuple[Direction, DirectionKind]],
    trust: ScoreTrust | None,
    tick: Progress,
) -> Grid:
    """The grid of these directions, by scores where they can be trusted, else by reading.

    The directions are the study's own also where `model` is it at another scale of its adapter.
    """
    decoding = Decoding(bench.size(ReadSizes).manner_tokens)
    with allow_transfer():
        return measure_grid(
            model,
            cases,
            compared_pairs(bench),
            Reading(trust, bench.judge, decoding),
            strengths=bench.size(ComparedSizes).strengths,
            progress=tick,
        )


def matched(bench: Bench, grid: Grid, key: Key[Matched]) -> Records:
    """The comparison at equal refusal; nothing where too few pairs have a verdict everywhere."""
    try:
        return {key: match_refusal(grid, seed=bench.study.seed)}
    except InputError:
        return {}


def controls(bench: Bench, like: Direction) -> tuple[Direction, ...]:
    """Random, of shuffled labels, and drawn from the within-class covariance; of equal length."""
    shuffled_set = bench.results.get(SHUFFLED_DIRECTIONS)
    shuffled = shuffled_set.at_site("pooled", like.site, like.offset).vector
    within = _within_class(bench, like)
    return (
        like.random_like(bench.study.seed, name=RANDOM),
        of_length(shuffled, like, SHUFFLED),
        of_length(within, like, WITHIN),
    )


def _within_class(bench: Bench, like: Direction) -> torch.Tensor:
    prompts = bench.split("train", _SPREAD_PAIRS)
    read = bench.model.residuals(prompts, sites=(like.site,), offsets=(like.offset,))
    return drawn_within_class(read, bench.study.seed + 1)


def drawn_within_class(residuals: Residuals, seed: int) -> torch.Tensor:
    """One draw from the covariance of prompts around the mean of their category and side.

    Of residuals at one site and offset. A sum of the centred residuals with standard normal weights
    has just that covariance, up to its length.
    """
    prompts, resid = residuals.labelled, residuals.tensor[:, 0, 0]
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(resid[0])
    for category in prompts.categories:
        for label in LABELS:
            rows = [i for i, p in enumerate(prompts) if (p.category, p.label) == (category, label)]
            group = resid[rows]
            total += torch.randn(len(rows), generator=generator) @ (group - group.mean(0))
    return total


def of_length(vector: torch.Tensor, like: Direction, name: str) -> Direction:
    """A control along `vector`, of the length and at the site of another direction."""
    scaled = vector / vector.norm() * like.scale
    return Direction.from_difference(
        scaled, category=name, site=like.site, offset=like.offset, provenance=like.provenance
    )

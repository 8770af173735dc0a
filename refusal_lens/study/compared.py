"""What directions are compared on: test pairs, the directions themselves, and their controls."""

import torch

from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Grid, match_refusal, whole_pairs
from refusal_lens.evaluation.grid import Kind
from refusal_lens.prompts import LABELS, PromptSet
from refusal_lens.study.fitted import POOLED, Gap, direction_at, pooled_set
from refusal_lens.study.stage import Bench, Records, own_directions

RANDOM = "control: random"
SHUFFLED = "control: shuffled labels"
WITHIN = "control: within-class"
STEERED_AT = 1.0
_SPREAD_PAIRS = 10


def compared_pairs(bench: Bench, most: int | None = None) -> PromptSet:
    """The test pairs on which directions are compared, by default as many as the trade-off takes.

    Raises:
        Gap: there are fewer than two.
    """
    test = bench.prompts.only(split="test")
    pairs = whole_pairs(test, bench.study.sizes.trade_off_pairs if most is None else most)
    if len(pairs) < 4:
        raise Gap(
            f"`test` holds {len(pairs) // 2} whole pairs, expected at least 2; give each "
            "refuse-side prompt its benign twin"
        )
    return pairs


def compared_directions(bench: Bench) -> list[tuple[Direction, Kind]]:
    """Every category's direction, the pooled one and its controls, at the chosen layer."""
    layer = bench.chosen_layer()
    pooled = direction_at(pooled_set(bench.results), POOLED, layer)
    own: list[tuple[Direction, Kind]] = [(d, "direction") for d in own_directions(bench, layer)]
    checks: list[tuple[Direction, Kind]] = [(d, "control") for d in controls(bench, pooled)]
    return [*own, (pooled, "pooled"), *checks]


def matched(bench: Bench, grid: Grid) -> Records:
    """The comparison at equal refusal; nothing where too few pairs have a verdict everywhere."""
    try:
        return {"matched": match_refusal(grid, seed=bench.study.seed)}
    except InputError:
        return {}


def controls(bench: Bench, like: Direction) -> tuple[Direction, ...]:
    """Random, of shuffled labels, and drawn from the within-class covariance; of equal length."""
    found = bench.results.get("geometry", "shuffled", DirectionSet)
    shuffled = found.at_site("pooled", like.site, like.offset).vector
    within = _within_class(bench, like)
    return (
        like.random_like(bench.study.seed, name=RANDOM),
        _of_length(shuffled, like, SHUFFLED),
        _of_length(within, like, WITHIN),
    )


def _within_class(bench: Bench, like: Direction) -> torch.Tensor:
    """One draw from the covariance of prompts around the mean of their category and side.

    A sum of the centred residuals with standard normal weights has just that covariance, up to its
    length.
    """
    prompts = bench.split("train", _SPREAD_PAIRS)
    read = bench.model.residuals(prompts, sites=(like.site,), offsets=(like.offset,))
    resid = read.at(like.site, like.offset)
    generator = torch.Generator().manual_seed(bench.study.seed + 1)
    total = torch.zeros_like(resid[0])
    for category in prompts.categories:
        for label in LABELS:
            rows = [i for i, p in enumerate(prompts) if (p.category, p.label) == (category, label)]
            own = resid[rows]
            total += torch.randn(len(rows), generator=generator) @ (own - own.mean(0))
    return total


def _of_length(vector: torch.Tensor, like: Direction, name: str) -> Direction:
    scaled = vector / vector.norm() * like.scale
    return Direction.from_difference(
        scaled, category=name, site=like.site, offset=like.offset, provenance=like.provenance
    )


def n_test_pairs(bench: Bench, most: int) -> int:
    return len(whole_pairs(bench.prompts.only(split="test"), most))


def n_compared(bench: Bench) -> int:
    """How many prompts are compared; none where the stages will say that there are too few."""
    test = bench.prompts.only(split="test")
    return len(whole_pairs(test, bench.study.sizes.trade_off_pairs))

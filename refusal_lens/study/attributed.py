"""What the attribution stages share: how much they read, which prompts, and what is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

from refusal_lens.attribution import Attribution
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.pairing import is_drawn
from refusal_lens.study.fitted import Gap, category_set, direction_at
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.stage import Bench
from refusal_lens.study.stages.attribution import DECOMPOSITION

FULL: Final = "_full"  # stands behind the names of stages that measure the whole maps


@final
@dataclass(frozen=True)
class Reach:
    """How much is patched and probed: pairs per category, layers, whole prompts or their ends.

    `whole` patches each head, too, and every token of the prompts.
    """

    patch_pairs: int = 4
    stream_layers: int = 3
    probe_pairs: int = 10
    probe_layers: int = 10
    whole: bool = False

    @classmethod
    def full(cls) -> "Reach":
        """The whole maps."""
        return cls(16, 1_000_000, 1_000_000, 1_000_000, whole=True)


def planned(make: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    """A list of tasks; an empty one where the stage will say why there is none."""
    try:
        return make()
    except Gap:
        return ()


REACH: Final = {"": Reach(), FULL: Reach.full()}


def held_out(bench: Bench, reach: Reach) -> PromptSet:
    """The test prompts that probes, lens and knock-outs read."""
    return bench.split("test", reach.probe_pairs)


def twins_only(prompts: PromptSet) -> PromptSet:
    """The prompts, none of whose pairs was drawn at random.

    Raises:
        Gap: one was.
    """
    if any(is_drawn(p) for p in prompts):
        raise Gap(
            "patching puts one prompt's activations into its twin, and pairs of these prompts were "
            "drawn at random; give each refuse-side prompt a benign twin (`pair`)"
        )
    return prompts


def category_prompts(bench: Bench, category: str) -> PromptSet:
    """The test prompts of a category that knock-outs and neurons read."""
    return held_out(bench, Reach()).only(category=category)


def written(bench: Bench, category: str) -> tuple[Direction, Attribution]:
    """A category's direction at the chosen layer, and what every part writes along it."""
    directions = category_set(bench.results)
    decomposition = bench.results.get(DECOMPOSITION)
    direction = direction_at(directions, category, chosen_layer(bench.results))
    try:
        return direction, decomposition.attribution(category)
    except InputError as error:
        raise Gap(str(error)) from None

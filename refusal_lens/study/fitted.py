"""Which directions a run edits with: fitted by what the model did, or by what was intended.

A model that refuses by itself is edited along what sets refused prompts apart from answered ones;
intended labels would bring the topic in. Where refusals are planted the labels are known, and the
intended ones serve. One source serves a whole run: what the other one gives stands beside it, under
its own name.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, final

from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.study.key import Key
from refusal_lens.study.question import Labels, Study
from refusal_lens.study.results import Results
from refusal_lens.study.sizes import ALL, StageSizes, size

POOLED: Final = "pooled"
POOLED_OF: Final[dict[str, Key[DirectionSet]]] = {
    "behaviour": Key("contrasts", "harmful_refused_benign_complied", DirectionSet),
    "within": Key("contrasts", "harmful_refused_harmful_complied", DirectionSet),
    "over": Key("contrasts", "benign_refused_benign_complied", DirectionSet),
    "intended": Key("directions", POOLED, DirectionSet),
}
"""The directions pooled over categories, by the source of the labels that they are fitted on."""
CATEGORIES_OF: Final[dict[Labels, Key[DirectionSet]]] = {
    "behaviour": Key("contrasts", "by_category", DirectionSet),
    "intended": Key("directions", "directions", DirectionSet),
}
"""Each category's directions, by the source of the labels."""


@final
@dataclass(frozen=True)
class FitSizes(StageSizes):
    """How many pairs of each category directions are fitted on."""

    # Of a few categories 40: fewer leave no direction by behaviour.
    fit_pairs: int = size(30, full=ALL, quick=40)


class Gap(Exception):
    """Something can't be measured on this model; the message says why and what would help."""


def fitted_on(results: Results) -> Labels:
    """Which labels fit the directions that a run edits with."""
    return Study.of(results.manifest.get("question")).fitted_on


def pooled_set(results: Results) -> DirectionSet:
    """The direction of all categories together, at every site.

    Raises:
        Gap: the model did not refuse enough, or not answer enough, to fit one by what it did.
    """
    return _directions(results, POOLED_OF[fitted_on(results)])


def category_set(results: Results) -> DirectionSet:
    """Each category's direction, where there is one; raises like `pooled_set`."""
    return _directions(results, CATEGORIES_OF[fitted_on(results)])


def at_layer(directions: DirectionSet, layer: int) -> list[Direction]:
    """A set's directions at a layer, where they are defined.

    Raises:
        Gap: none is.
    """
    chosen: list[Direction] = []
    for category in directions.categories:
        with suppress(InputError):  # undefined there
            chosen.append(directions.at(category, layer))
    if not chosen:
        raise Gap(f"no category has a direction at layer {layer}")
    return chosen


def direction_at(directions: DirectionSet, category: str, layer: int) -> Direction:
    """A category's direction at a layer; a gap where it is undefined."""
    try:
        return directions.at(category, layer)
    except InputError as error:
        raise Gap(str(error)) from None


def defined(directions: DirectionSet, places: Sequence[tuple[int, int]]) -> list[Direction]:
    """The directions of a set's first category at these layers and offsets, where there are any.

    Raises:
        Gap: it is undefined at all of them.
    """
    category = directions.categories[0]
    chosen: list[Direction] = []
    for layer, offset in places:
        with suppress(InputError):  # undefined there, as at layer 0, or not fitted: no candidate
            chosen.append(directions.at(category, layer, offset))
    if not chosen:
        layers = list(dict.fromkeys(layer for layer, _ in places))
        raise Gap(f"the direction is undefined at each of the layers {layers}")
    return chosen


def _directions(results: Results, key: Key[DirectionSet]) -> DirectionSet:
    if (directions := results.find(key)) is not None:
        return directions
    why = results.gap(key.stage) or "too few prompts were refused, or too few were answered"
    raise Gap(
        f"no direction by what this model did ({why}); give prompts of which it refuses some "
        "and answers some (more of them: --full), or fit on intended labels: --labels intended"
    )

"""Which directions a run edits with: fitted by what the model did, or by what was intended.

A model that refuses by itself is edited along what sets refused prompts apart from answered ones;
intended labels would bring the topic in. Where refusals are planted the labels are known, and the
intended ones serve. One source serves a whole run: what the other one gives stands beside it, under
its own name.
"""

from contextlib import suppress
from typing import Final

from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.study.question import Labels, Study
from refusal_lens.study.results import Results

POOLED: Final = "pooled"
PLACES: Final[dict[str, tuple[str, str]]] = {
    "behaviour": ("contrasts", "harmful_refused_benign_complied"),
    "within": ("contrasts", "harmful_refused_harmful_complied"),
    "over": ("contrasts", "benign_refused_benign_complied"),
    "intended": ("directions", POOLED),
}
"""Where the pooled directions of each source stand: stage and name of the record."""
_CATEGORIES: Final[dict[Labels, tuple[str, str]]] = {
    "behaviour": ("contrasts", "by_category"),
    "intended": ("directions", "directions"),
}


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
    return _held(results, *PLACES[fitted_on(results)])


def category_set(results: Results) -> DirectionSet:
    """Each category's direction, where there is one; raises like `pooled_set`."""
    return _held(results, *_CATEGORIES[fitted_on(results)])


def at_layer(found: DirectionSet, layer: int) -> list[Direction]:
    """A set's directions at a layer, where they are defined.

    Raises:
        Gap: none is.
    """
    chosen: list[Direction] = []
    for category in found.categories:
        with suppress(InputError):  # undefined there
            chosen.append(found.at(category, layer))
    if not chosen:
        raise Gap(f"no category has a direction at layer {layer}")
    return chosen


def direction_at(found: DirectionSet, category: str, layer: int) -> Direction:
    """A category's direction at a layer; a gap where it is undefined."""
    try:
        return found.at(category, layer)
    except InputError as error:
        raise Gap(str(error)) from None


def defined(
    found: DirectionSet, wanted: tuple[int, ...], offsets: tuple[int, ...]
) -> list[Direction]:
    """The directions of a set's first category at these layers and offsets, where there are any.

    Raises:
        Gap: it is undefined at all of them.
    """
    category = found.categories[0]
    chosen: list[Direction] = []
    for layer in wanted:
        for offset in offsets:
            try:
                chosen.append(found.at(category, layer, offset))
            except InputError:
                continue  # undefined there, as at layer 0: no candidate
    if not chosen:
        raise Gap(f"the direction is undefined at each of the layers {list(wanted)}")
    return chosen


def _held(results: Results, stage: str, name: str) -> DirectionSet:
    if not results.has(stage, name):
        why = results.gap(stage) or "too few prompts were refused, or too few were answered"
        raise Gap(
            f"no direction by what this model did ({why}); give prompts of which it refuses some "
            "and answers some (more of them: --full), or fit on intended labels: --labels intended"
        )
    return results.get(stage, name, DirectionSet)

"""The directions that a page offers: by estimator and category, at the layers where they are."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import final

from refusal_lens.arguments import one
from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.sites import Site
from refusal_lens.study import Results, Study
from refusal_lens.study.finished import directions_of
from refusal_lens.study.fitted import CATEGORIES_OF, POOLED, POOLED_OF
from refusal_lens.study.key import Key
from refusal_lens.study.stages.estimator_comparison import measured_stages
from refusal_lens.study.stages.estimators import CATEGORY_SET, FIT, POOLED_SET

_WRITE = 'explore(model, directions), or explore(model, {"an estimator": directions})'


@final
@dataclass(frozen=True, eq=False)
class Choice:
    """One category's directions of one estimator.

    >>> choice = Choice("mean_difference", "advice", directions)
    >>> choice.layers, choice.offset, choice.direction(2).category
    ((0, 1, 2), -1, 'advice')
    """

    estimator: str
    category: str
    directions: DirectionSet

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers at whose inputs the set has directions."""
        return layers_of(self.directions)

    @property
    def offset(self) -> int:
        """The last offset at which the set has directions."""
        return max(self.directions.offsets)

    def direction(self, layer: int) -> Direction:
        """The direction at the input of a layer.

        Raises:
            InputError: the set has none there.
        """
        return self.directions.at(self.category, layer, self.offset)


def layers_of(directions: DirectionSet) -> tuple[int, ...]:
    """Layers at whose inputs a set has directions.

    >>> layers_of(directions)
    (0, 1, 2)
    """
    return tuple(s.layer for s in directions.sites if s == Site(s.layer))


def choices_of(directions: DirectionSet | Mapping[str, DirectionSet]) -> tuple[Choice, ...]:
    """Every category of a set, or of several sets by the name of their estimator.

    >>> [choice.category for choice in choices_of(directions)]
    ['advice', 'humanizing', 'unsupported']

    Raises:
        InputError: no set, or one without a direction at the input of any layer.
    """
    if isinstance(directions, DirectionSet):
        named: Mapping[str, DirectionSet] = {directions.method: directions}
    else:
        named = one(directions, Mapping, what="the directions", write=_WRITE)
    if not named:
        raise InputError(f"there is no direction to explore; write {_WRITE}")
    for name, each in named.items():
        one(each, DirectionSet, what=f"the directions of {name!r}", write=_WRITE)
        if not layers_of(each):
            raise InputError(
                f"the directions of {name!r} are at {', '.join(map(str, each.sites))}; the page "
                "needs some at the input of a layer (resid_pre)"
            )
    return tuple(Choice(name, c, each) for name, each in named.items() for c in each.categories)


def choices_of_run(results: Results) -> tuple[Choice, ...]:
    """The directions of a run: those it edits with first, then other labels and estimators.

    >>> [choice.category for choice in choices_of_run(results)][:2]
    ['pooled', 'safety_core']

    Raises:
        InputError: the run has no directions.
    """
    study = Study.of(results.manifest.get("question"))
    chosen = study.fitted_on
    used = f"{study.estimator}, by {chosen}"
    other = "intended" if chosen == "behaviour" else "behaviour"
    sets = [(used, _if_there(results, category)) for category in (POOLED, None)]
    keys: tuple[Key[DirectionSet], ...] = (POOLED_OF[other], CATEGORIES_OF[other])
    sets += [(f"{study.estimator}, by {other}", results.find(key)) for key in keys]
    for stage in measured_stages(results):
        name = results.get(FIT.of(stage)).name
        if name != study.estimator:
            sets += [(name, results.find(key.of(stage))) for key in (POOLED_SET, CATEGORY_SET)]
    choices = [
        Choice(n.replace("_", " "), c, s) for n, s in sets if s is not None for c in s.categories
    ]
    usable = tuple(choice for choice in choices if choice.layers)
    if not usable:
        directions_of(results, POOLED)  # says why there is none
        raise InputError(f"{str(results.folder)!r} has no direction at the input of a layer")
    return usable


def _if_there(results: Results, category: str | None) -> DirectionSet | None:
    with suppress(InputError):
        return directions_of(results, category)
    return None

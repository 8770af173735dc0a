"""The settings of an invariant probe: its grid, its seeds and its training schedule."""

import math
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal, final, get_args

from refusal_lens.errors import InputError

Principle = Literal["ERM", "IRM", "IB-ERM", "IB-IRM"]
METHODS: Final[tuple[Principle, ...]] = get_args(Principle)
Bottleneck = Literal["variance", "within_class"]


@final
@dataclass(frozen=True)
class Config:
    """One point of the grid: weights of the invariance penalty, the bottleneck, and of |w|^2."""

    penalty: float
    bottleneck: float
    decay: float

    @property
    def method(self) -> Principle:
        """Which of the four it belongs to.

        >>> Config(penalty=10.0, bottleneck=0.0, decay=1e-3).method
        'IRM'
        """
        invariant = "IRM" if self.penalty else "ERM"
        return f"IB-{invariant}" if self.bottleneck else invariant  # pyright: ignore[reportReturnType]


@final
@dataclass(frozen=True)
class InvarianceRecipe:
    """How an invariant probe is fitted; the defaults are those of our protocol.

    `components`: principal components kept. `penalties`, `bottlenecks`, `decays`: the grid of
    lambda, gamma and the weight of |w|^2, each penalty and bottleneck with a 0. Up to step
    `warm_up` of `steps` the penalty weighs 1 where it is on and the bottleneck 0; then both take
    their values and Adam starts anew. `seeds` draw the first weights of the fits that are reported,
    the first `selection_seeds` of them those of the search (full batch: they change nothing else).
    `bottleneck`: "variance" of the logit, as published, which shrinking w alone can lower;
    "within_class" divides the variance within classes by the squared distance of their means.
    `outer`: the one environment to test on, in no fit and no choice; without it each takes its
    turn, and the directions are of all environments.

    >>> from refusal_lens.directions.invariance import InvarianceRecipe
    >>> len(InvarianceRecipe().grid)
    60

    Raises:
        InputError: a grid without a method of the 2 x 2, or a number out of its range.
    """

    components: int = 32
    penalties: tuple[float, ...] = (0.0, 1.0, 10.0, 100.0, 1000.0)
    bottlenecks: tuple[float, ...] = (0.0, 0.01, 0.1, 1.0)
    decays: tuple[float, ...] = (1e-4, 1e-3, 1e-2)
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    selection_seeds: int = 1
    steps: int = 3000
    warm_up: int = 500
    learning_rate: float = 1e-3
    bottleneck: Bottleneck = "variance"
    outer: str | None = None

    def __post_init__(self) -> None:
        for name in ("penalties", "bottlenecks", "decays"):
            _check_weights(name, getattr(self, name), both=name != "decays")
        for name, least in (("components", 1), ("steps", 1), ("warm_up", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} {getattr(self, name)} of the recipe; at least {least}")
        if self.warm_up >= self.steps:
            raise InputError(f"warm_up {self.warm_up} must be below steps {self.steps}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise InputError(f"learning_rate {self.learning_rate} must be positive")
        n = len(set(self.seeds))
        if n < max(1, len(self.seeds)) or not 1 <= self.selection_seeds <= n:
            raise InputError(
                f"seeds {self.seeds}, the first {self.selection_seeds} of them for the search; "
                "expected distinct seeds, and one of them or more for the search"
            )
        if self.bottleneck not in get_args(Bottleneck):
            raise InputError(
                f"bottleneck {self.bottleneck!r}; expected one of {list(get_args(Bottleneck))}"
            )

    @property
    def grid(self) -> tuple[Config, ...]:
        """Every combination, the weakest weights first."""
        axes = (sorted(self.penalties), sorted(self.bottlenecks), sorted(self.decays))
        return tuple(Config(*point) for point in product(*axes))


def _check_weights(name: str, weights: tuple[float, ...], *, both: bool) -> None:
    if not weights or any(not (math.isfinite(x) and x >= 0) for x in weights):
        raise InputError(f"{name} {weights} of the recipe; expected numbers from 0 up")
    if both and (0 not in weights or not any(weights)):
        raise InputError(
            f"{name} {weights} of the recipe; expected 0 and a number above it, so that all of "
            f"{list(METHODS)} are fitted"
        )

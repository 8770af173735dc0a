"""Directions compared at matched refusal, and whether they are one shared knob.

A curve is the refusal rate of the refuse side and of the benign side over strength, each made
monotone by isotonic regression; over-refusal at a given refusal rate is read between its points by
linear interpolation. One resampling of pairs goes through every curve. Nothing is extrapolated: a
curve's range runs from the 97.5th percentile of its lowest refusal rate over the draws to the 2.5th
of its highest, and a rate outside it is "not reached".

"One shared knob" is a claim of equivalence: at every rate, over-refusal under any two directions
that reach it differs by at most the margin. Rates and margin are stated beforehand; who reaches a
rate is seen in refusal alone, before over-refusal is looked at, and who does not is named: of those
the answer says nothing. The band of all differences that are compared holds at
once with 95% (largest absolute t over pairs of directions and rates). Where all of it lies within
the margin the answer is "equivalent", where some of it lies wholly outside "different", otherwise
"unresolved". A standard error is never taken below 1/(n + 2), that of paired rates without a single
discordant pair under one half added to each cell (Agresti & Min 2005): no difference seen in few
pairs is no proof that there is none.

Prompts of one category are refused together. The interval of a single direction is for categories
like these: where there are at least three, its standard error is not below that of leaving out one
category at a time, and Student's t has a degree of freedom less than there are categories. With one
or two it is for these categories alone, and says so. Coverage of the nominal 95% in simulations
with 3 to 11 categories: .94 to .99, prompts of a category correlated by 0 to .25 (over pairs alone
.69 to .90 where they are). The band of differences is over pairs: what categories have in common
under two directions cancels.
"""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Final, Literal, final

import numpy as np
from jaxtyping import Float

from refusal_lens.errors import InputError
from refusal_lens.evaluation.grid import Grid
from refusal_lens.evaluation.monotone import Curves, drawn_curves
from refusal_lens.intervals import LEVEL, NORMAL, t_quantile
from refusal_lens.records import Estimate, Record

RATES: Final = (0.6, 0.7, 0.8, 0.9)
MARGIN: Final = 0.05
DRAWS: Final = 1000
LEAST_CATEGORIES: Final = 3  # t with one degree of freedom would make any rate possible
_STEPS: Final = 41

Equivalence = Literal["equivalent", "different", "unresolved", "not reached"]


@final
@dataclass(frozen=True)
class MatchedCurve:
    """One direction: the refusal rates that it reaches, and its over-refusal at matched rates.

    `over_refusal[i]` belongs to the i-th rate, None where it is not reached; its control is the
    mean over the controls that reach the rate (None if none does). `area` is the mean over-refusal
    over the common range of the compared directions.
    """

    name: str
    kind: str
    reach: tuple[float, float] | None
    over_refusal: tuple[Estimate | None, ...]
    area: Estimate | None


@final
@dataclass(frozen=True)
class Difference:
    """Over-refusal under `a` minus that under `b` at one rate, with the simultaneous band."""

    a: str
    b: str
    rate: float
    value: float
    low: float
    high: float


@final
@dataclass(frozen=True)
class Matched(Record):
    """Comparisons at matched refusal rate in a model, and the answer on one shared knob.

    `compared` names the directions of the claim (neither pooled nor controls); `outside[rate]`
    those of them that do not reach a rate. At each rate the others are compared two by two.
    `resolved` is the largest half-width of the band, `n_needed` how many pairs would bring it down
    to the margin; None where nothing could be compared. `left_out` is the share of draws in which
    some curve fell outside a rate at which it is compared.
    """

    SCHEMA_VERSION: ClassVar[int] = 5

    model: str
    rates: tuple[float, ...]
    margin: float
    n_pairs: int
    n_categories: int
    draws: int
    curves: tuple[MatchedCurve, ...]
    compared: tuple[str, ...]
    outside: tuple[tuple[float, tuple[str, ...]], ...]
    common: tuple[float, float] | None
    differences: tuple[Difference, ...]
    answer: Equivalence
    resolved: float | None
    n_needed: int | None
    left_out: float

    def __str__(self) -> str:
        n = len({name for d in self.differences for name in (d.a, d.b)})
        of = f"{n} of {len(self.compared)} directions compared"
        return f"{self.answer} (margin {self.margin:g}, {self.n_pairs} pairs, {of}); {self.power}"

    @property
    def scope(self) -> str:
        """What the interval of a single direction is for, in words."""
        if self.n_categories < LEAST_CATEGORIES:
            one = self.n_categories == 1
            return f"over pairs, for {'this category' if one else 'these two categories'} alone"
        return f"over {self.n_categories} categories, for categories like these"

    @property
    def power(self) -> str:
        """What these prompts can resolve, in words."""
        if self.resolved is None:
            return "no refusal rate is reached by two directions, so nothing was compared"
        return (
            f"{self.n_pairs} pairs resolve a difference of {self.resolved:.3f}; a margin of "
            f"{self.margin:g} needs about {self.n_needed}"
        )


def match_refusal(
    grid: Grid,
    *,
    rates: tuple[float, ...] = RATES,
    margin: float = MARGIN,
    draws: int = DRAWS,
    seed: int = 0,
) -> Matched:
    """Over-refusal of every direction at matched refusal, all on the same bootstrap draws of pairs.

    `rates` are shares of refused prompts, and `margin` a difference of such shares. Pairs of which
    one side has no verdict under some direction are left out of every curve. At each rate those
    that reach it are compared; nothing is extrapolated for the others.

    >>> pairs = rl.whole_pairs(prompts.only(split="test"), 3)
    >>> reading = rl.evaluation.Reading(None, rl.make_judge("substring"), rl.Decoding(4))
    >>> cases = [(direction, "direction"), (direction.random_like(0, name="random"), "control")]
    >>> grid = rl.evaluation.measure_grid(model, cases, pairs, reading, strengths=(0.0, 1.0))
    >>> from dataclasses import replace
    >>> never = replace(grid, refused=grid.refused * 0)  # as of a model that refuses nothing
    >>> rl.evaluation.match_refusal(never, draws=20).answer
    'not reached'

    Raises:
        InputError: fewer than two pairs are left, a margin that is not positive, a rate that is no
            share, or fewer than two draws.
    """
    if not margin > 0:
        raise InputError(f"margin {margin} is not positive; give one as {MARGIN}, before measuring")
    if wrong := [rate for rate in rates if not 0 <= rate <= 1]:
        raise InputError(f"rate {wrong[0]} is not between 0 and 1; give shares, as {RATES}")
    if draws < 2:
        raise InputError(f"{draws} draws of pairs give no interval; give two or more, as {DRAWS}")
    curves, n, n_categories = drawn_curves(grid, rates, draws, seed)
    compared = [i for i, kind in enumerate(grid.kinds) if kind == "direction"]
    return _Comparison(grid, curves, compared, margin, (n, n_categories)).finish()


@final
class _Comparison:
    """The numbers of a `Matched`, from curves."""

    def __init__(
        self, grid: Grid, curves: Curves, compared: list[int], margin: float, n: tuple[int, int]
    ) -> None:
        self.grid, self.curves, self.compared, self.margin = grid, curves, compared, margin
        self.n, self.n_categories = n

    def finish(self) -> Matched:
        grid, rates = self.grid, self.curves.rates
        outside = tuple((r, self._outside(r)) for r in rates)
        differences, crossed = self._differences()
        half = max(((d.high - d.low) / 2 for d in differences), default=None)
        return Matched(
            model=grid.provenance.model,
            rates=rates,
            margin=self.margin,
            n_pairs=self.n,
            n_categories=self.n_categories,
            draws=len(self.curves.fitted) - 1,
            curves=self._curves(),
            compared=tuple(grid.names[i] for i in self.compared),
            outside=outside,
            common=self._common(),
            differences=differences,
            answer=answer(differences, self.margin),
            resolved=half,
            n_needed=None if half is None else math.ceil(self.n * (half / self.margin) ** 2),
            left_out=crossed,
        )

    def _outside(self, rate: float) -> tuple[str, ...]:
        return tuple(self.grid.names[i] for i in self.compared if not self.curves.reaches(i, rate))

    def _common(self) -> tuple[float, float] | None:
        if not self.compared:
            return None
        low, high = self.curves.low[self.compared].max(), self.curves.high[self.compared].min()
        return (float(low), float(high)) if low < high else None

    def _curves(self) -> tuple[MatchedCurve, ...]:
        curves, common = self.curves, self._common()
        area = None
        if common is not None:
            area = tuple(x.mean(-1) for x in curves.read(np.linspace(*common, _STEPS)))
        controls = [i for i, kind in enumerate(self.grid.kinds) if kind == "control"]
        by_direction: list[MatchedCurve] = []
        for i, name in enumerate(self.grid.names):
            low, high = float(curves.low[i]), float(curves.high[i])
            inside = common is not None and low <= common[0] and common[1] <= high
            at = [
                self._estimate(
                    curves.at[:, i, r], curves.left_at[:, i, r], self._control(controls, r)
                )
                if curves.reaches(i, rate)
                else None
                for r, rate in enumerate(curves.rates)
            ]
            by_direction.append(
                MatchedCurve(
                    name,
                    self.grid.kinds[i],
                    (low, high) if low < high else None,
                    tuple(at),
                    self._estimate(area[0][:, i], area[1][:, i], None)
                    if area is not None and inside
                    else None,
                )
            )
        return tuple(by_direction)

    def _control(self, controls: list[int], r: int) -> float | None:
        reached = [i for i in controls if self.curves.reaches(i, self.curves.rates[r])]
        return float(self.curves.at[0, reached, r].mean()) if reached else None

    def _estimate(
        self,
        drawn: Float[np.ndarray, " draw"],
        left: Float[np.ndarray, " category"],
        control: float | None,
    ) -> Estimate:
        value, k = float(drawn[0]), self.n_categories
        half = NORMAL * (se := max(float(np.nanstd(drawn[1:], ddof=1)), 1 / (self.n + 2)))
        over = (
            f"bootstrap over pairs, for {'this category' if k == 1 else 'these categories'} alone"
        )
        if k >= LEAST_CATEGORIES:
            reached = left[np.isfinite(left)]  # without some category a rate may not be
            jackknife = ((k - 1) * reached.var()) ** 0.5 if len(reached) else 0.0
            half = float(t_quantile(k - 1)) * max(se, float(jackknife))
            over = f"jackknife over {k} categories, not below the bootstrap over pairs"
        method = f"isotonic fit at matched refusal; {over}; control: mean of controls"
        low, high = max(0.0, value - half), min(1.0, value + half)
        return Estimate(value, low, high, self.n, method, control)

    def _differences(self) -> tuple[tuple[Difference, ...], float]:
        """Any two directions at every rate that both reach, and the share of draws left out."""
        curves, names = self.curves, self.grid.names
        both = [
            (i, j, r)
            for i, j in combinations(self.compared, 2)
            for r, rate in enumerate(curves.rates)
            if curves.reaches(i, rate) and curves.reaches(j, rate)
        ]
        if not both:
            return (), 0.0
        a, b, at = (list(side) for side in zip(*both, strict=True))
        drawn = curves.at[:, a, at] - curves.at[:, b, at]
        whole = np.isfinite(drawn.sum(axis=1))
        kept = drawn[1:][whole[1:]]
        se = np.maximum(kept.std(0, ddof=1), 1 / (self.n + 2))
        largest = np.abs((kept - drawn[0]) / se).max(1)
        # Never below the band of a single normal difference.
        factor = max(float(np.quantile(largest, LEVEL)), NORMAL)
        differences = tuple(
            Difference(names[i], names[j], curves.rates[r], v, v - factor * s, v + factor * s)
            for k, (i, j, r) in enumerate(both)
            for v, s in ((float(drawn[0, k]), float(se[k])),)
        )
        return differences, float(1 - whole[1:].mean())


def answer(differences: tuple[Difference, ...], margin: float) -> Equivalence:
    """What the simultaneous band says about one shared knob."""
    if not differences:
        return "not reached"
    if all(-margin <= d.low and d.high <= margin for d in differences):
        return "equivalent"
    if any(d.low > margin or d.high < -margin for d in differences):
        return "different"
    return "unresolved"

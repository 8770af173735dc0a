# pyright: reportUnknownLambdaType=false
"""Chapter 4: over-refusal at matched refusal, its interval, and what "one knob" has to show."""

from collections.abc import Sequence

import torch
from torch import Tensor

from refusal_lens.exercises.exercise import Case, Exercise, Mistake
from refusal_lens.exercises.registry import Chapter
from refusal_lens.exercises.tiny import numbers

Values = Sequence[float]


def _pooled(values: Values, passes: int) -> list[float]:
    """Neighbours that fall are replaced by their mean, so many times over."""
    blocks = [(v, 1) for v in values]
    for _ in range(passes):
        merged: list[tuple[float, int]] = []
        for mean, n in blocks:
            if merged and merged[-1][0] > mean:
                last, m = merged.pop()
                merged.append(((last * m + mean * n) / (m + n), m + n))
            else:
                merged.append((mean, n))
        blocks = merged
    return [mean for mean, n in blocks for _ in range(n)]


def _monotone(values: Values) -> list[float]:
    return _pooled(values, len(values))


def _running(values: Values) -> list[float]:
    return torch.tensor(values).cummax(0).values.tolist()


MONOTONE = Exercise(
    name="monotone",
    solution=_monotone,
    gives="values of the same number that never fall, closest in squares to the ones given",
    cases=(
        Case("one step down", ([0.1, 0.4, 0.2, 0.6],)),
        Case("three values in a row that fall", ([0.0, 0.6, 0.5, 0.1, 0.9],)),
        Case("a block that has to be pooled again", ([0.5, 0.3, 0.4, 0.2, 0.8],)),
        Case("values that rise already", ([0.1, 0.2, 0.2, 0.7],)),
    ),
    mistakes=(
        Mistake(
            "This is the running maximum: one lucky prompt lifts all that follows. Values that "
            "fall are pooled: each becomes the mean of the block.",
            lambda values: _running(values),
        ),
        Mistake(
            "This is the running minimum from the right. Values that fall are pooled: each becomes "
            "the mean of the block.",
            lambda values: [-v for v in _running([-v for v in values[::-1]])[::-1]],
        ),
        Mistake(
            "This sorts the values: a rate then belongs to another strength than it was measured "
            "at.",
            lambda values: sorted(values),
        ),
        Mistake(
            "One pass is not enough: a block that was pooled may lie below the block before it. "
            "Go on until nothing falls.",
            lambda values: _pooled(values, 1),
        ),
        Mistake("Nothing has changed: these are the values as they were.", lambda v: list(v)),
    ),
)


def _line(target: float, x: Values, y: Values) -> float:
    """Linear interpolation; the ends are held beyond the range."""
    for (x0, x1), (y0, y1) in zip(
        zip(x[:-1], x[1:], strict=True), zip(y[:-1], y[1:], strict=True), strict=True
    ):
        if x0 <= target <= x1:
            return y0 + (y1 - y0) * (target - x0) / (x1 - x0)
    return y[0] if target < x[0] else y[-1]


def _over_refusal_at(target: float, refusal: Values, over_refusal: Values) -> float | None:
    if not refusal[0] <= target <= refusal[-1]:
        return None
    return _line(target, refusal, over_refusal)


def _nearest(target: float, x: Values) -> int:
    return min(range(len(x)), key=lambda i: abs(x[i] - target))


_CURVE = ([0.2, 0.5, 0.8, 0.9], [0.05, 0.1, 0.5, 0.7])
OVER_REFUSAL_AT = Exercise(
    name="over_refusal_at",
    solution=_over_refusal_at,
    gives="over-refusal where refusal equals `target`, None if the curve does not reach it",
    cases=(
        Case("a target between two strengths", (0.6, *_CURVE)),
        Case("a target that was measured", (0.5, *_CURVE)),
        Case("a target above the curve", (0.95, *_CURVE)),
        Case("a target below the curve", (0.1, *_CURVE)),
        Case("a target at the lower end", (0.2, *_CURVE)),
        Case("a target at the upper end", (0.9, *_CURVE)),
    ),
    mistakes=(
        Mistake(
            "Outside the curve this gives the value of its end, as `np.interp` does without a "
            "word. A rate that no strength reaches was not measured: return None.",
            lambda target, x, y: _line(target, x, y),
        ),
        Mistake(
            "This takes the strength whose refusal is nearest to the target; two directions would "
            "still be compared at different refusal. Interpolate between the two strengths beside "
            "it.",
            lambda target, x, y: y[_nearest(target, x)] if x[0] <= target <= x[-1] else None,
        ),
        Mistake(
            "This takes the first strength that reaches the target, and so a refusal above it. "
            "Interpolate between the two strengths beside it.",
            lambda target, x, y: (
                next(b for a, b in zip(x, y, strict=True) if a >= target)
                if x[0] <= target <= x[-1]
                else None
            ),
        ),
        Mistake(
            "The ends of the curve were measured, too: None is for what lies beyond them.",
            lambda target, x, y: _line(target, x, y) if x[0] < target < x[-1] else None,
        ),
        Mistake(
            "The axes are swapped: this is refusal where over-refusal equals the target.",
            lambda target, x, y: _over_refusal_at(target, y, x),
        ),
        Mistake(
            "The two neighbours are weighted the wrong way round: the nearer one counts more.",
            lambda target, x, y: (
                next(
                    b0 + (b1 - b0) * (a1 - target) / (a1 - a0)
                    for a0, a1, b0, b1 in zip(x[:-1], x[1:], y[:-1], y[1:], strict=True)
                    if a0 <= target <= a1
                )
                if x[0] <= target <= x[-1]
                else None
            ),
        ),
    ),
)


def _quantiles(values: Tensor, tail: float = 0.025) -> tuple[float, float]:
    low, high = values.quantile(torch.tensor([tail, 1 - tail])).tolist()
    return low, high


def _drawn(values: Tensor, draws: Tensor) -> Tensor:
    return values[draws].mean(-1)


def _difference_interval(a: Tensor, b: Tensor, draws: Tensor) -> tuple[float, float]:
    return _quantiles(_drawn(a, draws) - _drawn(b, draws))


def _apart(a: Tensor, b: Tensor, draws: Tensor) -> tuple[float, float]:
    (a_low, a_high), (b_low, b_high) = (_quantiles(_drawn(x, draws)) for x in (a, b))
    return a_low - b_high, a_high - b_low


_REFUSED = (numbers(20) > 0).float()
_ALSO = torch.where(numbers(20, seed=1) > 1, 1 - _REFUSED, _REFUSED)
_DRAWS = torch.randint(20, (400, 20), generator=torch.Generator().manual_seed(2))
DIFFERENCE_INTERVAL = Exercise(
    name="difference_interval",
    solution=_difference_interval,
    gives="(low, high): the 2.5th and 97.5th percentile of rate a minus rate b over the draws",
    cases=(
        Case("two directions on 20 pairs, 400 draws", (_REFUSED, _ALSO, _DRAWS)),
        Case("one direction against itself", (_REFUSED, _REFUSED, _DRAWS)),
    ),
    mistakes=(
        Mistake(
            "You subtract the ends of two intervals. Both rates are of the same prompts and move "
            "together: subtract within each draw, then take percentiles.",
            lambda a, b, draws: _apart(a, b, draws),
        ),
        Mistake(
            "These are the 5th and 95th percentile, a 90% interval. 95% leaves 2.5% on each side.",
            lambda a, b, draws: _quantiles(_drawn(a, draws) - _drawn(b, draws), 0.05),
        ),
        Mistake(
            "`np.percentile` counts in percent: 2.5 and 97.5. These are its .025th and .975th "
            "percentile, near the smallest of all draws.",
            lambda a, b, draws: tuple(
                (_drawn(a, draws) - _drawn(b, draws))
                .quantile(torch.tensor([0.025, 0.975]) / 100)
                .tolist()
            ),
        ),
        Mistake("This is (high, low).", lambda a, b, d: _difference_interval(a, b, d)[::-1]),
        Mistake(
            "The sign is turned: this is b minus a.", lambda a, b, d: _difference_interval(b, a, d)
        ),
        Mistake(
            "Only a is drawn anew, and b keeps the rate of all pairs. One draw of pairs goes "
            "through both.",
            lambda a, b, draws: _quantiles(_drawn(a, draws) - b.mean()),
        ),
        Mistake(
            "a and b are drawn separately. A pair that is drawn twice for a has to be drawn twice "
            "for b: the same prompts were given to both directions.",
            lambda a, b, draws: _quantiles(_drawn(a, draws) - _drawn(b, draws.roll(1, 0))),
        ),
        Mistake(
            "These are percentiles over single pairs, and not over the means of draws.",
            lambda a, b, draws: _quantiles(a - b),
        ),
    ),
)


def _knob_answer(low: float, high: float, margin: float) -> str:
    if -margin <= low and high <= margin:
        return "equivalent"
    return "different" if low > margin or high < -margin else "unresolved"


KNOB_ANSWER = Exercise(
    name="knob_answer",
    solution=_knob_answer,
    gives='"equivalent", "different" or "unresolved"',
    cases=(
        Case("a wide band around 0", (-0.2, 0.25, 0.05)),
        Case("a narrow band around 0", (-0.03, 0.02, 0.05)),
        Case("a narrow band beside 0, within the margin", (0.01, 0.04, 0.05)),
        Case("a band above 0 that crosses the margin", (0.02, 0.3, 0.05)),
        Case("a band beyond the margin", (0.08, 0.3, 0.05)),
        Case("a band beyond the margin, below 0", (-0.3, -0.08, 0.05)),
        Case("a narrow band across the margin", (0.04, 0.07, 0.05)),
        Case("a band that fills the margin", (-0.05, 0.05, 0.05)),
        Case("a band that begins at the margin", (0.05, 0.3, 0.05)),
    ),
    mistakes=(
        Mistake(
            "A band that contains 0 is no proof of equality: with few prompts every band does. "
            '"equivalent" needs the whole band within the margin.',
            lambda low, high, margin: "equivalent" if low <= 0 <= high else "different",
        ),
        Mistake(
            "A band that leaves out 0 shows a difference, but perhaps one that is too small to "
            'matter. "different" needs the whole band beyond the margin.',
            lambda low, high, margin: (
                "equivalent"
                if -margin <= low and high <= margin and low <= 0 <= high
                else "unresolved"
                if low <= 0 <= high
                else "different"
            ),
        ),
        Mistake(
            'A band that overlaps the margin may also reach far beyond it. "equivalent" needs the '
            "whole band within the margin.",
            lambda low, high, margin: (
                "equivalent" if low <= margin and high >= -margin else "different"
            ),
        ),
        Mistake(
            "You look at the middle of the band, and not at its ends: how little is known has no "
            "part in the answer.",
            lambda low, high, margin: (
                "equivalent" if abs(low + high) / 2 <= margin else "different"
            ),
        ),
        Mistake(
            "A difference of exactly the margin does not matter either: `<=` for "
            '"equivalent", `>` for "different".',
            lambda low, high, margin: (
                "equivalent"
                if -margin < low and high < margin
                else "different"
                if low >= margin or high <= -margin
                else "unresolved"
            ),
        ),
        Mistake(
            "You look at one end only. The band may lie below 0 as well as above.",
            lambda low, high, margin: (
                "equivalent" if high <= margin else "different" if low > margin else "unresolved"
            ),
        ),
        Mistake(
            "What is not equivalent need not be different. If part of the band lies within the "
            'margin and part beyond it, the answer is "unresolved".',
            lambda low, high, margin: (
                "equivalent" if -margin <= low and high <= margin else "different"
            ),
        ),
    ),
)

CHAPTER = Chapter(
    number=4,
    title="One knob?",
    exercises=(MONOTONE, OVER_REFUSAL_AT, DIFFERENCE_INTERVAL, KNOB_ANSWER),
)

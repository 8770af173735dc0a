"""The projection over generated tokens as a chart: places in an SVG, nothing drawn here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from refusal_lens.explorer.readings import ConditionReading, QuestionReadings
from refusal_lens.plots.text import number

WIDTH: Final = 640
HEIGHT: Final = 220
LEFT: Final = 44
EDGE: Final = 16


@final
@dataclass(frozen=True)
class Line:
    """One condition: its corners in the SVG, and its values in words, a token each."""

    name: str
    dots: tuple[tuple[float, float], ...]
    values: tuple[str, ...]

    @property
    def points(self) -> str:
        """The corners as a polyline takes them."""
        return " ".join(f"{x},{y}" for x, y in self.dots)


@final
@dataclass(frozen=True)
class Chart:
    """Lines over the generated tokens, and the heights of the marks 0 and 1."""

    lines: tuple[Line, ...]
    marks: tuple[tuple[str, float], ...]
    n_tokens: int


def chart_of(readings: QuestionReadings) -> Chart | None:
    """Coordinates of the generated tokens at the layer of the readings; None where there are none.

    0 is the mean of the benign prompts and 1 that of the should-refuse prompts.
    """
    values = [_generated(row, readings.layer) for row in readings.rows]
    known = [v for row in values for v in row if v == v]
    if not known:
        return None
    low, high = min(0.0, *known), max(1.0, *known)
    n = max(map(len, values))
    lines = [
        Line(row.condition.name, _dots(along, n, low, high), tuple(map(number, along)))
        for row, along in zip(readings.rows, values, strict=True)
    ]
    ends = dict.fromkeys((low, 0.0, 1.0, high))
    apart = (high - low) / 12  # marks nearer to 0 or 1 than this would be printed over them
    shown = [v for v in ends if v in (0.0, 1.0) or min(abs(v), abs(v - 1)) > apart]
    return Chart(tuple(lines), tuple((number(v, 1), _height(v, low, high)) for v in shown), n)


def _generated(row: ConditionReading, layer: int) -> list[float]:
    if layer not in row.tokens.layers:
        return []
    along: list[float] = row.tokens.coordinate[row.tokens.layers.index(layer)].tolist()
    pairs = zip(row.tokens.positions, along, strict=True)
    return [value for position, value in pairs if position >= 0]


def _dots(
    values: Sequence[float], n: int, low: float, high: float
) -> tuple[tuple[float, float], ...]:
    room = WIDTH - LEFT - EDGE
    across = [LEFT + room * (i / (n - 1) if n > 1 else 0.5) for i in range(n)]
    return tuple(
        (round(x, 1), _height(v, low, high))
        for x, v in zip(across, values, strict=False)  # an answer may be shorter than another
        if v == v
    )


def _height(value: float, low: float, high: float) -> float:
    return round(HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (value - low) / (high - low), 1)

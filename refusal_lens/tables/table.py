"""The one table: rows of plain text, which the page escapes and the command line prints."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

from refusal_lens.plots.palette import CONTROL
from refusal_lens.plots.text import percent, visible
from refusal_lens.records import Estimate


@final
@dataclass(frozen=True)
class Cell:
    """Text, with a coloured tag before it or an interval drawn beside it."""

    text: str
    tag: str | None = None
    colour: str = CONTROL
    bar: tuple[float, float, float] | None = None


@final
@dataclass(frozen=True)
class Table:
    """Rows under real headers; the first cell of each row names it."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    kind: str = "numbers"


def plain_table(caption: str, head: tuple[str, ...], rows: Mapping[str, Any]) -> Table:
    """A table of names and values, nested values as `name: value` pairs."""
    return Table(caption, head, tuple((Cell(k), Cell(_spelled(v))) for k, v in rows.items()))


def rate_cell(estimate: Estimate, colour: str) -> Cell:
    """A rate, its interval drawn beside it."""
    e = estimate
    bar = None
    if e.value is not None and e.low is not None and e.high is not None:
        bar = (e.value, e.low, e.high)
    return Cell(percent(e), colour=colour, bar=bar)


def _spelled(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {_spelled(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_spelled(v) for v in value)
    return "–" if value is None else visible(str(value))

"""Dots with their intervals, a row for each thing that is compared."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar, final

import plotly.graph_objects as go

from refusal_lens.plots.effects import error_bars
from refusal_lens.plots.palette import faded
from refusal_lens.plots.text import escape, estimate_text
from refusal_lens.records import Estimate

R = TypeVar("R")
_SIZE: Final = 8


@final
@dataclass(frozen=True)
class Dots(Generic[R]):
    """One kind of dot in a panel: what it reads of a row, its colour and symbol."""

    name: str
    read: Callable[[R], Estimate | None]
    colour: str
    symbol: str = "circle"

    def points(
        self, rows: Sequence[R], shift: float, *, titles: Sequence[str], colours: Sequence[str] = ()
    ) -> go.Scatter:
        """A dot for each row, `shift` below its line; with `colours`, each row's own."""
        estimates = [self.read(row) for row in rows]
        colour = list(colours) or self.colour
        bars = error_bars(estimates, faded(self.colour, 0.5)) | {"thickness": 1.2, "width": 0}
        return go.Scatter(
            x=[None if e is None else e.value for e in estimates],
            y=[i + shift for i in range(len(rows))],
            error_x=bars,
            mode="markers",
            name=self.name,
            marker={
                "symbol": self.symbol,
                "size": _SIZE,
                "color": colour,
                "line": {"width": 1.5, "color": colour},
            },
            customdata=[
                f"<b>{escape(title)}</b>, {self.name}<br>"
                + ("not measured" if e is None else estimate_text(e))
                for title, e in zip(titles, estimates, strict=True)
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )

"""What the figures share: the look, lines with bands, and grids of small panels."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from refusal_lens.plots.palette import QUIET, RULE, TEXT, faded
from refusal_lens.plots.text import escape
from refusal_lens.sites import Site

WIDTH: Final = 1140
COLUMNS: Final = 4
FONT: Final = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif"
MODELS: Final = ("this model", "control model")
Numbers = list[float | None]


def dress(figure: go.Figure, height: int, width: int = WIDTH) -> go.Figure:
    """Size, font and quiet axes, the same in every figure."""
    axis: dict[str, Any] = {
        "gridcolor": "#edf0f3",
        "linecolor": RULE,
        "zeroline": False,
        "ticks": "outside",
        "ticklen": 3,
        "tickcolor": RULE,
        "automargin": False,
    }
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    figure.update_annotations(font={"size": 12.5, "color": TEXT})
    figure.update_layout(
        width=width,
        height=height,
        template="none",
        font={"family": FONT, "size": 12, "color": TEXT},
        paper_bgcolor="white",
        plot_bgcolor="white",
        hoverlabel={"bgcolor": "white", "bordercolor": RULE, "align": "left", "font_size": 12},
        legend={"font": {"size": 11.5}, "itemsizing": "constant"},
    )
    return figure


def plain(values: Float[Tensor, " any"], digits: int = 4) -> Numbers:
    """Numbers for JSON: rounded, None where undefined."""
    return [None if v != v else round(float(v), digits) for v in values.tolist()]


def layer_names(sites: Sequence[Site]) -> list[str]:
    """Layer numbers, or whole site names where not all are inputs of blocks."""
    inputs = all(s == Site(s.layer) for s in sites)
    return [str(s.layer) if inputs else escape(str(s)) for s in sites]


def small_panels(keys: Sequence[str], titles: Mapping[str, str], y_title: str) -> go.Figure:
    """A grid with a panel for each category, all with the same axes; layers run to the right."""
    rows = -(-len(keys) // COLUMNS)
    shared: dict[str, Any] = {"shared_xaxes": "all", "shared_yaxes": "all"}
    figure = make_subplots(
        rows=rows,
        cols=COLUMNS,
        **shared,
        subplot_titles=[escape(titles.get(k, k)) for k in keys],
        horizontal_spacing=0.025,
        vertical_spacing=0.3 / max(rows, 2),
    )
    height = 90 + 165 * rows
    dress(figure, height)
    figure.update_layout(
        margin={"l": 62, "r": 14, "t": 62, "b": 46},
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1 + 34 / (height - 108)},
        legend_yanchor="bottom",
    )
    for i in range(len(keys)):
        row, column = place(i)
        last = i + COLUMNS >= len(keys)
        figure.update_xaxes(row=row, col=column, showticklabels=last)
        if last:
            name = {"text": "layer", "standoff": 4, "font": {"color": QUIET, "size": 11.5}}
            figure.update_xaxes(row=row, col=column, title=name)
    for row in range(1, rows + 1):
        figure.update_yaxes(
            row=row, col=1, title={"text": y_title, "font": {"color": QUIET, "size": 11.5}}
        )
    return figure


def place(i: int) -> tuple[int, int]:
    """Row and column of the i-th small panel."""
    return i // COLUMNS + 1, i % COLUMNS + 1


def band(
    x: Sequence[int] | Sequence[float],
    low: Numbers,
    high: Numbers,
    colour: str,
    group: str,
    opacity: float = 0.16,
) -> go.Scatter:
    """A band between two lines, in one trace; pieces with an undefined end are left out."""
    pieces: list[list[int]] = [[]]
    for i, ends in enumerate(zip(low, high, strict=True)):
        if None in ends:
            pieces.append([])
        else:
            pieces[-1].append(i)
    xs: list[float | None] = []
    ys: Numbers = []
    for piece in (p for p in pieces if p):
        there_and_back = piece + piece[::-1]
        edge = [high[i] for i in piece] + [low[i] for i in reversed(piece)]
        xs += [*(x[i] for i in there_and_back), None]
        ys += [*edge, None]
    return go.Scatter(
        x=xs,
        y=ys,
        fill="toself",
        mode="lines",
        line={"width": 0},
        fillcolor=faded(colour, opacity),
        hoverinfo="skip",
        showlegend=False,
        legendgroup=group,
    )

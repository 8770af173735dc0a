"""Square matrices side by side: one fixed colour range, undefined cells in grey, one slider."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import plotly.graph_objects as go

from refusal_lens.plots.palette import DIVERGING, QUIET, RULE, UNDEFINED
from refusal_lens.plots.panels import WIDTH, dress
from refusal_lens.plots.text import number

Matrix = list[list[float | None]]
Hovers = list[list[tuple[str, ...]]]
Traces = list[go.Heatmap | go.Scatter]

_LEFT: Final = 132
_GAP: Final = 26
_SIDE: Final = 184
_BAR: Final = 74  # the colour bar between the matrices and the side panel
_TOP: Final = 86
_TICKS: Final = 100  # under the matrices
_SLIDER: Final = 96
_WIDE: Final = 42  # cells of this width hold the word "undefined"
_READABLE: Final = 18  # cells narrower than this hold no number


@final
@dataclass(frozen=True)
class Cells:
    """One matrix at one step: rows from the top, None where undefined.

    `template` is plotly's for a hover over `hovers`; `struck` names cells (x, y) to be read with
    care; `texts` stand in the cells in place of the numbers and of "undefined".
    """

    values: Matrix
    template: str
    hovers: Hovers
    struck: tuple[tuple[int, int], ...] = ()
    texts: list[list[str]] | None = None


@final
@dataclass(frozen=True)
class Sheet:
    """A matrix at every step, its heading and its escaped labels."""

    heading: str
    labels: tuple[str, ...]
    steps: Sequence[Cells]


@final
@dataclass(frozen=True)
class SidePanel:
    """A narrow panel beside the matrices, on their rows.

    `traces` gives those of a step; for a frame (False) only what changes with the step.
    """

    traces: Callable[[int, bool], list[go.Scatter]]
    heading: str
    across: dict[str, Any]
    line: float


@final
@dataclass(frozen=True)
class Look:
    """Colours with their fixed range, what the slider is called, and the width of a cell."""

    low: float = -1.0
    high: float = 1.0
    middle: float | None = 0.0
    colours: Any = DIVERGING
    ticks: tuple[float, ...] = (-1.0, -0.5, 0.0, 0.5, 1.0)
    moved: str = "layer"
    cell: int | None = None


COSINES: Final = Look()


def plot_matrices(
    sheets: Sequence[Sheet],
    names: Sequence[str],
    *,
    first: int = 0,
    look: Look = COSINES,
    side: SidePanel | None = None,
) -> go.Figure:
    """The sheets in a row; one slider over the steps of `names`, which begins at `first`."""
    cell = look.cell or _cell(len(sheets[0].labels), len(sheets), side)

    def traces(step: int, whole: bool) -> Traces:
        matrices = [
            t for i, sheet in enumerate(sheets) for t in _matrix(sheet, step, cell, i, whole)
        ]
        beside = [] if side is None else side.traces(step, whole)
        for trace in beside if whole else ():
            trace.update(xaxis=_axis("x", len(sheets)), yaxis=_axis("y", len(sheets)))
        return matrices + beside

    shown = traces(first, True)
    figure = go.Figure([*shown, _scale_keeper()])
    if len(names) > 1:
        figure.frames = [
            go.Frame(name=str(step), data=traces(step, False), traces=list(range(len(shown))))
            for step in range(len(names))
        ]
    _lay_out(figure, sheets, cell, side, _SLIDER if len(names) > 1 else 0)
    ends = {"cmin": look.low, "cmax": look.high, "cmid": look.middle}
    figure.update_layout(
        coloraxis={"colorscale": look.colours, **ends},
        coloraxis_colorbar_tickvals=list(look.ticks),
    )
    if len(names) > 1:
        figure.update_layout(sliders=[_slider(list(names), first, look.moved)])
    return figure


def _scale_keeper() -> go.Scatter:
    """A trace without points: the colour scale stays where a whole matrix is undefined."""
    marker = {"color": [0], "coloraxis": "coloraxis"}
    return go.Scatter(x=[None], y=[None], mode="markers", marker=marker, showlegend=False)


def _cell(n: int, panels: int, side: SidePanel | None) -> int:
    room = WIDTH - _LEFT - (_SIDE if side else 0) - _BAR - 14 - (panels - 1) * _GAP
    return max(14, min(room // (panels * n), 62 if n < 8 else 46))


def _matrix(sheet: Sheet, step: int, cell: int, i: int, whole: bool) -> Traces:
    cells = sheet.steps[step]
    values = cells.values
    texts = cells.texts or [["" if v is None else number(v) for v in row] for row in values]
    words = "undefined" if cell >= _WIDE else "undef."
    missing_texts = [
        [(t or words) if v is None else "" for v, t in zip(row, row_texts, strict=True)]
        for row, row_texts in zip(values, texts, strict=True)
    ]
    if cell < _READABLE:
        texts = missing_texts = [["" for _ in row] for row in values]
    # Arrays of objects: plotly validates nested lists value by value, a hundred times slower.
    shown = go.Heatmap(
        z=np.array(values, dtype=object),
        text=np.array(texts, dtype=object),
        customdata=np.array(cells.hovers, dtype=object),
        hovertemplate=cells.template,
    )
    missing = go.Heatmap(
        z=np.array([[0 if v is None else None for v in row] for row in values], dtype=object),
        text=np.array(missing_texts, dtype=object),
    )
    hatch = go.Scatter(x=[x for x, _ in cells.struck], y=[y for _, y in cells.struck])
    if whole:
        _style_matrix(shown, missing, hatch, cell, i)
        size = min(11, round(cell * (0.18 if cells.texts is None else 0.22)))
        missing.update(textfont_size=size)
    return [shown, missing, hatch]


def _style_matrix(
    shown: go.Heatmap, missing: go.Heatmap, hatch: go.Scatter, cell: int, i: int
) -> None:
    axes: dict[str, Any] = {"xaxis": _axis("x", i), "yaxis": _axis("y", i)}
    gap = 1 if cell >= _READABLE else 0
    shown.update(
        **axes,
        coloraxis="coloraxis",
        texttemplate="%{text}",
        textfont={"size": min(12, round(cell * 0.31))},
        hoverongaps=True,
        xgap=gap,
        ygap=gap,
    )
    missing.update(
        **axes,
        colorscale=[[0, UNDEFINED], [1, UNDEFINED]],
        showscale=False,
        texttemplate="%{text}",
        textfont_color=QUIET,
        hoverinfo="skip",
        xgap=gap,
        ygap=gap,
    )
    hatch.update(
        **axes,
        mode="markers",
        marker={
            "symbol": "line-ne",
            "size": cell - 2,
            "line": {"width": 1.2, "color": "#9a9a9a"},
        },
        hoverinfo="skip",
        showlegend=False,
    )


def _lay_out(
    figure: go.Figure, sheets: Sequence[Sheet], cell: int, side: SidePanel | None, slider: int
) -> None:
    labels = sheets[0].labels
    n, square = len(labels), len(labels) * cell
    after = len(sheets) * square + (len(sheets) - 1) * _GAP + _BAR  # where a side panel begins
    inner = after + (_SIDE if side else 0)
    dress(figure, _TOP + square + _TICKS + slider, _LEFT + inner + 14)
    quiet = {"showgrid": False, "zeroline": False, "ticks": "", "linecolor": RULE}
    ticks = {"tickmode": "array", "tickvals": list(range(n)), **quiet}
    down = {**ticks, "range": [n - 0.5, -0.5], "ticktext": labels}
    layout = figure.layout
    for i, sheet in enumerate(sheets):
        start = i * (square + _GAP)
        across: dict[str, Any] = {**ticks, "range": [-0.5, n - 0.5], "ticktext": labels}
        across["tickangle"] = -45 if cell < _LEFT else 0
        layout[f"xaxis{i + 1}"] = {**across, "domain": [start / inner, (start + square) / inner]}
        layout[f"xaxis{i + 1}"].anchor = _axis("y", i)
        layout[f"yaxis{i + 1}"] = {**down, "anchor": _axis("x", i), "showticklabels": i == 0}
        # The sizes above make cells square; this keeps them so if a reader resizes the figure.
        layout[f"yaxis{i + 1}"].update(scaleanchor=_axis("x", i), constrain="domain")
        layout[f"xaxis{i + 1}"].constrain = "domain"
        figure.add_annotation(_heading(sheet.heading, start / inner))
    if side is not None:
        k = len(sheets) + 1
        layout[f"xaxis{k}"] = {"domain": [after / inner, 1], "anchor": f"y{k}", **side.across}
        layout[f"yaxis{k}"] = {**down, "anchor": f"x{k}", "showticklabels": False}
        line = {"color": QUIET, "width": 1, "dash": "dot"}
        ends = {"x0": side.line, "x1": side.line, "y0": 0, "y1": 1}
        figure.add_shape(type="line", line=line, xref=f"x{k}", yref="paper", **ends)
        figure.add_annotation(_heading(side.heading, after / inner))
    bar = {"thickness": 11, "len": 1, "x": (after - _BAR + 12) / inner, "xanchor": "left"}
    figure.update_layout(
        margin={"l": _LEFT, "r": 14, "t": _TOP, "b": _TICKS + slider},
        coloraxis_colorbar={**bar, "outlinewidth": 0},
    )


def _axis(letter: str, i: int) -> str:
    """Plotly's name of the i-th axis: x, x2, x3."""
    return letter if i == 0 else f"{letter}{i + 1}"


def _heading(text: str, x: float) -> dict[str, object]:
    place = {"x": x, "y": 1, "xref": "paper", "yref": "paper", "xanchor": "left", "yshift": 8}
    return {"text": text, "showarrow": False, "yanchor": "bottom", "align": "left", **place}


def _slider(names: list[str], first: int, moved: str) -> dict[str, object]:
    move = {
        "mode": "immediate",
        "frame": {"duration": 0, "redraw": True},
        "transition": {"duration": 0},
    }
    return {
        "active": first,
        # By number: cut names can be alike, and plotly shows the first frame of a name.
        "steps": [
            {"label": name, "method": "animate", "args": [[str(step)], move]}
            for step, name in enumerate(names)
        ],
        "currentvalue": {"prefix": f"{moved} ", "font": {"size": 13}, "xanchor": "left"},
        "pad": {"t": 108, "b": 0, "l": 0, "r": 0},
        "len": 1 if moved == COSINES.moved else 0.92,  # words are wider than numbers
        "x": 0,
        "font": {"size": 10, "color": QUIET},
        "ticklen": 3,
        "bordercolor": "#d8dee4",
    }

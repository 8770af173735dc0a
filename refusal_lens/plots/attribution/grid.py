"""What the figures of attribution share: a menu over categories, and heatmaps that it changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.plots.palette import DIVERGING, QUIET, RULE, UNDEFINED
from refusal_lens.plots.panels import WIDTH, dress
from refusal_lens.plots.text import number

MENU_TOP: Final = 84  # the menu, and headings under it
_LEAST: Final = 48  # plotly places a menu at most two panel heights above its panel


@final
@dataclass(frozen=True)
class Heatmap:
    """One heatmap: rows from the bottom, None where undefined, a hover for each cell."""

    values: list[list[float | None]]
    hovers: list[list[str]]


@final
@dataclass(frozen=True)
class HeatmapFrame:
    """What the heatmaps of a figure stand in: headings, escaped ticks, names of axes and colours.

    `reach` is the end of the colour range on both sides of zero.
    """

    headings: tuple[str, ...]
    across: tuple[str, ...]
    up: tuple[str, ...]
    names: tuple[str, str]
    reach: float
    colours: str
    cell: tuple[int, int] = (26, 15)
    written: bool = False  # the number in each cell


def plot_grids(grids: Mapping[str, Sequence[Heatmap]], frame: HeatmapFrame) -> go.Figure:
    """Heatmaps side by side, chosen by a menu over the (escaped) keys; one zero-centred scale."""
    n = len(frame.headings)
    shared: dict[str, Any] = {"shared_yaxes": "all", "horizontal_spacing": 0.035}
    figure = make_subplots(rows=1, cols=n, subplot_titles=list(frame.headings), **shared)
    owners: list[str] = []
    for key, panels in grids.items():
        for column, grid in enumerate(panels, 1):
            figure.add_trace(_heatmap(grid, frame), row=1, col=column)
            owners.append(key)
    left, right, under = 64, 112, 24 + 7 * max(map(_shown_length, frame.across))
    wide = min(WIDTH, left + right + n * len(frame.across) * frame.cell[0] + (n - 1) * 36)
    wide = max(wide, 520)
    high = max(len(frame.up) * frame.cell[1], _LEAST)
    dress(figure, MENU_TOP + under + 20 + high, wide)
    ticks: dict[str, Any] = {"tickmode": "array", "showgrid": False, "ticks": ""}
    figure.update_xaxes(
        **ticks,
        tickvals=list(range(len(frame.across))),
        ticktext=frame.across,
        tickangle=-55 if max(map(_shown_length, frame.across)) > 3 else 0,
        title={"text": frame.names[0], "font": {"color": QUIET}},
        range=[-0.5, len(frame.across) - 0.5],
    )
    step = -(-len(frame.up) // 20) if all(t.isdigit() for t in frame.up) else 1
    figure.update_yaxes(
        **ticks,
        tickvals=list(range(0, len(frame.up), step)),
        ticktext=frame.up[::step],
        range=[-0.5, len(frame.up) - 0.5],
    )
    figure.update_yaxes(title=frame.names[1], row=1, col=1)
    figure.update_layout(
        margin={"l": left, "r": right, "t": MENU_TOP, "b": under + 20},
        plot_bgcolor=UNDEFINED,
        coloraxis=centred_colours(frame.reach, frame.colours),
    )
    choose(figure, owners)
    return figure


def centred_colours(reach: float, title: str) -> dict[str, Any]:
    """One colour axis for all panels: white at 0, as far to either side."""
    return {
        "colorscale": DIVERGING,
        "cmin": -reach,
        "cmid": 0,
        "cmax": reach,
        "colorbar": {"thickness": 11, "outlinewidth": 0, "title": {"text": title}},
    }


def choose(
    figure: go.Figure, owners: Sequence[str], layouts: Mapping[str, dict[str, Any]] | None = None
) -> None:
    """Show the first owner's traces, and a menu that shows those of another; "" is always shown.

    `layouts` holds what else changes with the owner.
    """
    keys = [k for k in dict.fromkeys(owners) if k]
    traces: Any = figure.data
    for trace, owner in zip(traces, owners, strict=True):
        trace.visible = owner in ("", keys[0])
    changed = layouts or {}
    if keys[0] in changed:
        figure.update_layout(changed[keys[0]])
    layout: Any = figure.layout
    inner = layout.height - layout.margin.t - layout.margin.b
    if len(keys) == 1:
        heading: dict[str, Any] = {"xref": "paper", "yref": "paper", "showarrow": False}
        heading |= {"x": 0, "xanchor": "left", "y": 1 + 40 / inner, "yanchor": "bottom"}
        figure.add_annotation(text=f"<b>{keys[0]}</b>", font_size=14, **heading)
        return
    buttons = [
        {
            "label": key,
            "method": "update",
            "args": [{"visible": [o in ("", key) for o in owners]}, changed.get(key, {})],
        }
        for key in keys
    ]
    menu = {"buttons": buttons, "x": 0, "xanchor": "left", "yanchor": "bottom"}
    menu |= {"y": 1 + 36 / inner, "bgcolor": "white", "bordercolor": RULE, "font": {"size": 13}}
    figure.update_layout(updatemenus=[menu])


def hold_ranges(figure: go.Figure, columns: int | None = None) -> None:
    """One range for each vertical axis over all its lines, so that a menu does not move it.

    With `columns`, one for all panels under each other in a grid of so many columns.
    """
    ends: dict[int, list[float]] = {}
    traces: Any = figure.data
    lines = [(t, int((t.yaxis or "y")[1:] or 1)) for t in traces if t.type == "scatter"]
    for trace, axis in lines:
        key = axis if columns is None else (axis - 1) % columns
        ends.setdefault(key, []).extend(v for v in trace.y or () if v is not None)
    for axis in {axis for _, axis in lines}:
        values = ends[axis if columns is None else (axis - 1) % columns]
        if not values:
            continue
        room = 0.05 * (max(values) - min(values)) or 1.0
        name = f"yaxis{'' if axis == 1 else axis}"
        figure.update_layout({f"{name}.range": [min(values) - room, max(values) + room]})


def reach_of(grids: Mapping[str, Sequence[Heatmap]], columns: int | None = None) -> float:
    """The largest value of either sign in the first columns (all by default) of all heatmaps."""
    rows = [row[:columns] for g in grids.values() for p in g for row in p.values]
    magnitudes = [abs(v) for row in rows for v in row if v]
    return max(magnitudes, default=1.0)


def _heatmap(grid: Heatmap, frame: HeatmapFrame) -> go.Heatmap:
    texts = [["" if v is None else number(v) for v in row] for row in grid.values]
    return go.Heatmap(
        z=np.array(grid.values, dtype=object),
        customdata=np.array(grid.hovers, dtype=object),
        text=np.array(texts, dtype=object) if frame.written else None,
        texttemplate="%{text}" if frame.written else None,
        textfont={"size": 10.5},
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=True,
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )


def _shown_length(text: str) -> int:
    """Characters of an escaped text: an entity is one."""
    return len(text) - sum(len(e) for e in text.split("&")[1:] if ";" in e) // 2

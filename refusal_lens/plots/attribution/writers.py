"""Figures of exact attribution: bars by component, layer x head, and what many categories share."""

from collections.abc import Mapping, Sequence
from math import nan
from typing import Any, Final

import plotly.graph_objects as go

from refusal_lens.attribution import Attribution, Component, ComponentMatrix
from refusal_lens.plots.attribution.grid import (
    MENU_TOP,
    Heatmap,
    HeatmapFrame,
    choose,
    plot_grids,
    reach_of,
)
from refusal_lens.plots.palette import BENIGN, CONTROL, QUIET, REFUSE
from refusal_lens.plots.panels import WIDTH, dress
from refusal_lens.plots.text import escape, interval, number, tick
from refusal_lens.plots.titles import Titles, names_of, titles_of
from refusal_lens.records import Provenance

_BARS: Final = 18
_COLUMNS: Final = 16
_LEAST_HEIGHT: Final = 110  # pixels of the rows, which the colour bar beside them needs
Control = Mapping[str, Attribution]


def plot_writers(
    attributions: Sequence[Attribution], controls: Control, *, titles: Titles = None
) -> go.Figure:
    """The parts that write most of a category's direction, of either sign, and all others summed.

    Bars are the class difference with 95% intervals, open circles the control model's. The line
    above the bars gives the total, the residual and n.

    >>> of_model = [*attributions.values()]
    >>> plot_writers(of_model, control_attributions).write_html("writers.html")
    """
    titles = titles_of(titles, [a.category for a in attributions])
    figure, owners = go.Figure(), list[str]()
    layouts: dict[str, dict[str, Any]] = {}
    ends = [0.0]
    for a in attributions:
        name = escape(titles.get(a.category, a.category))
        traces, layout, reach = _bars(a, controls.get(a.category))
        for trace in traces:
            figure.add_trace(trace)
            owners.append(name)
        layouts[name] = layout
        ends.append(reach)
    dress(figure, MENU_TOP + 20 + 21 * (_BARS + 2) + 60, 900)
    quiet = {"text": "share of the class difference (residual-stream units)"}
    figure.update_xaxes(range=[-1.05 * max(ends), 1.05 * max(ends)], title=quiet)
    figure.update_yaxes(tickmode="array", range=[_BARS + 0.6, -0.6], showgrid=False)
    figure.update_layout(
        margin={"l": 150, "r": 20, "t": MENU_TOP + 20, "b": 50},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.01, "yanchor": "bottom"},
        bargap=0.3,
    )
    figure.add_vline(x=0, line={"color": QUIET, "width": 0.8})
    choose(figure, owners, layouts)
    return figure


def _bars(
    a: Attribution, control: Attribution | None
) -> tuple[list[go.Bar | go.Scatter], dict[str, Any], float]:
    order: list[int] = a.scores.abs().argsort(descending=True).tolist()
    shown, rest = order[:_BARS], order[_BARS:]
    values = [*a.scores[shown].tolist(), float(a.scores[rest].sum())]
    low = [*a.low[shown].tolist(), nan]  # no interval is known for a sum of parts
    high = [*a.high[shown].tolist(), nan]
    names = [*(a.components[i].name for i in shown), f"{len(rest)} others, summed"]
    hovers = [
        f"<b>{n}</b><br>{interval(v, lo, hi)}, {number(100 * v / a.total, 1)}% of the total, "
        f"n = {a.n}"
        for n, v, lo, hi in zip(names, values, low, high, strict=True)
    ]
    y = list(range(len(names)))
    bars = go.Bar(
        x=values,
        y=y,
        orientation="h",
        name="this model",
        marker={"color": [REFUSE if v > 0 else BENIGN for v in values]},
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [h - v for h, v in zip(high, values, strict=True)],
            "arrayminus": [v - lo for lo, v in zip(low, values, strict=True)],
            "thickness": 1.1,
            "width": 3,
        },
        customdata=hovers,
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
    )
    traces: list[go.Bar | go.Scatter] = [bars]
    if control is not None:
        other = [*control.scores[shown].tolist(), float(control.scores[rest].sum())]
        traces.append(_open_circles(other, names, control))
    layout = {"annotations": [_total(a, control)], "yaxis.tickvals": y, "yaxis.ticktext": names}
    return traces, layout, max(abs(v) for v in (*low, *high, *values) if v == v)


def _total(a: Attribution, control: Attribution | None) -> dict[str, Any]:
    """A line above the bars: what they sum up to."""
    text = (
        f"total {number(a.total)} = sum of {len(a.components)} parts + residual "
        f"{_tiny(a.residual)}, n = {a.n} pairs"
    ) + ("" if control is None else f"; control {number(control.total)}")
    note = {"text": text, "x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "paper"}
    return note | {"yanchor": "bottom", "showarrow": False, "font": {"size": 12.5, "color": QUIET}}


def _tiny(value: float) -> str:
    return f"{value:.0e}".replace("-", "−")


def _open_circles(values: list[float], names: list[str], control: Attribution) -> go.Scatter:
    return go.Scatter(
        x=values,
        y=list(range(len(values))),
        mode="markers",
        name="control model",
        marker={"symbol": "circle-open", "size": 9, "color": CONTROL, "line": {"width": 2}},
        customdata=[
            f"<b>{n}</b> in the control model<br>{number(v)}, n = {control.n}"
            for n, v in zip(names, values, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )


def plot_heads(
    attributions: Sequence[Attribution],
    controls: Control,
    *,
    titles: Titles = None,
    names: tuple[str, str] | None = None,
) -> go.Figure:
    """Layer x head of the class difference, the MLP in the last column, the control beside.

    Where a block has no separable heads, its mixer stands in the first column.

    The colours end at what the strongest head writes; an MLP may write more.

    >>> of_model = [*attributions.values()]
    >>> plot_heads(of_model, control_attributions).write_html("heads.html")
    """
    titles = titles_of(titles, [a.category for a in attributions])
    names = names_of(names, attributions[0].provenance, _measured_in(controls))
    components = attributions[0].components
    n_layers = 1 + max(c.layer for c in components)
    n_heads = 1 + max(c.head or 0 for c in components)
    grids = {
        escape(titles.get(a.category, a.category)): [
            _by_layer(x, n_layers, n_heads)
            for x in ((a, controls[a.category]) if controls else (a,))
        ]
        for a in attributions
    }
    frame = HeatmapFrame(
        tuple(escape(n) for n in names[: 2 if controls else 1]),
        (*map(str, range(n_heads)), "MLP"),
        tuple(map(str, range(n_layers))),
        ("head", "layer"),
        reach_of(grids, n_heads),
        "written",
        (30, 16),
    )
    return plot_grids(grids, frame)


def _measured_in(controls: Control) -> Provenance | None:
    return next((control.provenance for control in controls.values()), None)


def _by_layer(a: Attribution, n_layers: int, n_heads: int) -> Heatmap:
    place = {c: i for i, c in enumerate(a.components)}
    values: list[list[float | None]] = []
    hovers: list[list[str]] = []
    for layer in range(n_layers):
        row = [Component(layer, "head", h) for h in range(n_heads)] + [Component(layer, "MLP")]
        if (mixer := Component(layer, "mixer")) in place:
            row[0] = mixer
        values.append([round(float(a.scores[place[c]]), 4) if c in place else None for c in row])
        hovers.append([_hover(a, c, place) for c in row])
    return Heatmap(values, hovers)


def _hover(a: Attribution, c: Component, place: Mapping[Component, int]) -> str:
    if c not in place:
        return f"<b>{c.name}</b><br>not in this model, or it writes after the direction's layer"
    i = place[c]
    score = float(a.scores[i])
    ends = interval(score, float(a.low[i]), float(a.high[i]))
    share = number(100 * score / a.total, 1)
    return f"<b>{c.name}</b><br>{ends}, {share}% of the total, n = {a.n}"


def plot_component_matrix(
    matrix: ComponentMatrix,
    controls: Control,
    *,
    titles: Titles = None,
    names: tuple[str, str] | None = None,
) -> go.Figure:
    """The parts with the largest share in any category, and the control model's beside them.

    Both are in shares of this model's total difference, so that the two can be compared.

    >>> plot_component_matrix(matrix, control_attributions).write_html("shares.html")
    """
    titles = titles_of(titles, matrix.categories)
    names = names_of(names, matrix.provenance, _measured_in(controls))
    top: list[int] = matrix.share.abs().amax(0).argsort(descending=True)[:_COLUMNS].tolist()
    top.sort()
    panels = [_shares(matrix, top, None)]
    if all(c in controls for c in matrix.categories):
        panels.append(_shares(matrix, top, controls))
    grids = {"share of the class difference": panels}
    frame = HeatmapFrame(
        tuple(escape(n) for n in names[: len(panels)]),
        tuple(matrix.components[i].name for i in top),
        tuple(tick(titles.get(c, c)) for c in matrix.categories),
        ("", ""),
        reach_of(grids),
        "share",
        (25, max(25, _LEAST_HEIGHT // len(matrix.categories))),
    )
    figure = plot_grids(grids, frame)
    layout: Any = figure.layout
    figure.update_layout(margin_l=150, width=min(WIDTH, layout.width + 86))
    return figure


def _shares(matrix: ComponentMatrix, top: Sequence[int], controls: Control | None) -> Heatmap:
    values: list[list[float | None]] = []
    hovers: list[list[str]] = []
    for c, category in enumerate(matrix.categories):
        row, hover_row = list[float | None](), list[str]()
        for i in top:
            name = f"<b>{matrix.components[i].name}</b>, {escape(category)}<br>"
            if controls is None:
                share = float(matrix.share[c, i])
                ends = interval(share, float(matrix.low[c, i]), float(matrix.high[c, i]), 3)
                hover_row.append(f"{name}share {ends}, n = {matrix.n[c]}")
                row.append(round(share, 4))
            else:
                score = controls[category].score_of(matrix.components[i])
                row.append(round(score / float(matrix.total[c]), 4))
                hover_row.append(f"{name}control {number(row[-1], 3)}, n = {controls[category].n}")
        values.append(row)
        hovers.append(hover_row)
    return Heatmap(values, hovers)

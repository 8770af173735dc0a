"""Cosines of a category with all others by layer, and where categories part and meet."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from refusal_lens.geometry import Geometry
from refusal_lens.plots.palette import QUIET, RULE, mark_of
from refusal_lens.plots.panels import band, dress, plain
from refusal_lens.plots.text import escape, interval
from refusal_lens.plots.titles import Titles, titles_of


def plot_curves(
    geometry: Geometry, *, titles: Titles = None, layer: int | None = None
) -> go.Figure:
    """Corrected cosines of one category with each other by layer, bands are 95% intervals.

    A menu chooses the category. Lines break where a cosine is undefined.

    >>> plot_curves(geometry, layer=15).write_html("curves.html")
    """
    titles = titles_of(titles, geometry.categories)
    figure = go.Figure()
    owner: list[str] = []
    for a in geometry.categories:
        for b in geometry.categories:
            if a != b:
                for trace in _pair(geometry, a, b, titles):
                    trace.visible = a == geometry.categories[0]
                    figure.add_trace(trace)
                    owner.append(a)
    dress(figure, 480)
    buttons = [
        {
            "label": escape(titles.get(a, a)),
            "method": "restyle",
            "args": [{"visible": [category == a for category in owner]}],
        }
        for a in geometry.categories
    ]
    menu = {"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}
    menu |= {"bgcolor": "white", "bordercolor": RULE, "font": {"size": 13}, "pad": {"b": 4}}
    figure.update_layout(
        updatemenus=[menu],
        margin={"l": 62, "r": 190, "t": 64, "b": 46},
        legend={"x": 1.01, "y": 1, "title": {"text": "with"}},
    )
    line: dict[str, Any] = {"color": QUIET, "width": 0.8}
    for at in (0, 1):
        figure.add_hline(y=at, line=line)
    if layer is not None:
        figure.add_vline(x=layer, line={**line, "dash": "dot"})
    last = geometry.sites[-1].layer
    figure.update_yaxes(range=[-1.1, 1.2], tickvals=[-1, -0.5, 0, 0.5, 1], title="corrected cosine")
    figure.update_xaxes(range=[0, last + 0.5], title={"text": "layer", "standoff": 4})
    return figure


def _pair(g: Geometry, a: str, b: str, titles: Mapping[str, str]) -> tuple[go.Scatter, go.Scatter]:
    i, j = g.categories.index(a), g.categories.index(b)
    value, low, high = (plain(part[:, i, j]) for part in (g.corrected, g.low, g.high))
    layers = [s.layer for s in g.sites]
    colour = mark_of(b, titles).colour
    name = escape(titles.get(b, b))
    line = go.Scatter(
        x=layers,
        y=value,
        mode="lines",
        name=name,
        legendgroup=name,
        line={"color": colour, "width": 2},
        customdata=[interval(*ends) for ends in zip(value, low, high, strict=True)],
        hovertemplate=f"<b>{escape(titles.get(a, a))} × {name}</b><br>layer %{{x}}, offset "
        f"{g.offset}<br>%{{customdata}}, n = {min(g.n[i], g.n[j])} pairs<extra></extra>",
    )
    return band(layers, low, high, colour, name), line

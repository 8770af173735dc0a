"""Reliability of each category's direction by layer, with its band and the control model's."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from refusal_lens.geometry import Geometry
from refusal_lens.geometry.cosines import MEASURABLE
from refusal_lens.plots.palette import CONTROL, QUIET, mark_of
from refusal_lens.plots.panels import band, place, plain, small_panels
from refusal_lens.plots.text import escape, interval
from refusal_lens.plots.titles import Titles, names_of, titles_of


def plot_reliability(
    geometry: Geometry,
    *,
    titles: Titles = None,
    control: Geometry | None = None,
    names: tuple[str, str] | None = None,
) -> go.Figure:
    """One panel per category: reliability by layer with its 95% band; under the dotted line at .5
    the band's lower end means "not measurable". Grey is the control model.

    >>> plot_reliability(geometry, control=control).write_html("reliability.html")
    """
    titles = titles_of(titles, geometry.categories)
    names = names_of(names, geometry.provenance, control.provenance if control else None)
    figure = small_panels(geometry.categories, titles, "reliability")
    for i, category in enumerate(geometry.categories):
        row, column = place(i)
        if control is not None and category in control.categories:
            for trace in _curve(control, category, titles, CONTROL, names[1], i == 0):
                figure.add_trace(trace, row=row, col=column)
        colour = mark_of(category, titles).colour
        for trace in _curve(geometry, category, titles, colour, names[0], i == 0):
            figure.add_trace(trace, row=row, col=column)
        where: dict[str, Any] = {"row": row, "col": column}
        figure.add_hline(y=MEASURABLE, line={"color": QUIET, "width": 1, "dash": "dot"}, **where)
    figure.update_yaxes(range=[-0.25, 1.08], tickvals=[0, 0.5, 1])
    return figure


def _curve(
    g: Geometry, category: str, titles: Mapping[str, str], colour: str, name: str, legend: bool
) -> tuple[go.Scatter, go.Scatter]:
    c = g.categories.index(category)
    layers = [s.layer for s in g.sites]
    value, low, high = (
        plain(part[:, c]) for part in (g.reliability, g.reliability_low, g.reliability_high)
    )
    head = f"<b>{escape(titles.get(category, category))}</b>, {escape(name)}"
    line = go.Scatter(
        x=layers,
        y=value,
        mode="lines",
        name=escape(name),
        legendgroup=escape(name),
        showlegend=legend,
        line={"color": colour, "width": 1.4 if colour == CONTROL else 2},
        customdata=[
            f"{head}<br>{site}, offset {g.offset}<br>reliability {interval(v, a, b)}, "
            f"n = {g.n[c]} pairs"
            for site, v, a, b in zip(g.sites, value, low, high, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    return band(layers, low, high, colour, escape(name)), line

"""How long the directions are at each layer, and how far apart the two sides lie on them."""

from collections.abc import Mapping

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.directions import DirectionSet
from refusal_lens.geometry import Geometry
from refusal_lens.plots.palette import BENIGN, CONTROL, REFUSE, mark_of
from refusal_lens.plots.panels import Numbers, band, dress, place, plain, small_panels
from refusal_lens.plots.text import escape, interval, number
from refusal_lens.plots.titles import Titles, names_of, titles_of
from refusal_lens.sites import Site


def plot_lengths(
    geometry: Geometry,
    *,
    titles: Titles = None,
    control: Geometry | None = None,
    names: tuple[str, str] | None = None,
) -> go.Figure:
    """Noise-free length of each category's difference of means by layer, on a log scale.

    The second panel is the control model. A gap is a layer where the squared length is not
    positive once noise is taken out.

    >>> plot_lengths(geometry, control=control).write_html("lengths.html")
    """
    titles = titles_of(titles, geometry.categories)
    names = names_of(names, geometry.provenance, control.provenance if control else None)
    shown = [(escape(names[0]), geometry)]
    if control is not None:
        shown.append((escape(names[1]), control))
    figure = make_subplots(
        rows=1,
        cols=len(shown),
        shared_yaxes=True,
        subplot_titles=[name for name, _ in shown] if len(shown) > 1 else None,
        horizontal_spacing=0.025,
    )
    for column, (name, g) in enumerate(shown, 1):
        for category in g.categories:
            trace = _length(g, category, titles, name).update(showlegend=column == 1)
            figure.add_trace(trace, row=1, col=column)
    dress(figure, 430)
    ticks = [a * 10.0**b for b in range(-6, 7) for a in (1, 2, 5)]
    figure.update_yaxes(type="log", tickvals=ticks, ticktext=[f"{t:g}" for t in ticks])
    figure.update_yaxes(title="length, residual-stream units", col=1)
    figure.update_xaxes(title={"text": "layer", "standoff": 6})
    figure.update_layout(margin={"l": 70, "r": 170, "t": 34, "b": 46})
    return figure


def plot_separation(
    directions: DirectionSet,
    *,
    titles: Titles = None,
    control: DirectionSet | None = None,
    offset: int = -1,
    names: tuple[str, str] | None = None,
) -> go.Figure:
    """One panel per category: mean coordinate of harmful and of matched benign prompts on the
    category's own unit direction, by layer; grey is the control model on its own direction.

    >>> plot_separation(directions).write_html("separation.html")
    """
    titles = titles_of(titles, directions.categories)
    names = names_of(names, directions.provenance, control.provenance if control else None)
    figure = small_panels(directions.categories, titles, "coordinate")
    for i, category in enumerate(directions.categories):
        row, column = place(i)
        title = escape(titles.get(category, category))
        if control is not None and category in control.categories and offset in control.offsets:
            head = f"<b>{title}</b>, {escape(names[1])}"
            for trace in _sides(control, category, offset, head, coloured=False):
                figure.add_trace(trace, row=row, col=column)
        head = f"<b>{title}</b>, {escape(names[0])}"
        for trace in _sides(directions, category, offset, head, coloured=True):
            legend = i == 0 and trace.mode == "lines" and trace.fill is None
            figure.add_trace(trace.update(showlegend=legend), row=row, col=column)
    return figure


def _length(g: Geometry, category: str, titles: Mapping[str, str], name: str) -> go.Scatter:
    c = g.categories.index(category)
    mark, title = mark_of(category, titles), escape(titles.get(category, category))
    length = plain(g.length[:, c])
    parts = (g.reliability, g.reliability_low, g.reliability_high)
    value, low, high = (plain(part[:, c]) for part in parts)
    return go.Scatter(
        x=[s.layer for s in g.sites],
        y=length,
        mode="lines+markers",
        name=title,
        legendgroup=category,
        line={"color": mark.colour, "width": 1.6},
        marker={"symbol": mark.symbol, "size": 5},
        customdata=[
            f"<b>{title}</b>, {name}<br>{site}, offset {g.offset}<br>noise-free length "
            f"{number(x, 3)}, n = {g.n[c]} pairs<br>reliability {interval(v, a, b)}"
            for site, x, v, a, b in zip(g.sites, length, value, low, high, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _sides(
    d: DirectionSet, category: str, offset: int, head: str, *, coloured: bool
) -> list[go.Scatter]:
    c, o = d.categories.index(category), d.offsets.index(offset)
    rows = [i for i, s in enumerate(d.sites) if s == Site(s.layer)]
    layers = [d.sites[i].layer for i in rows]
    low, high, scale = (plain(part[c, o][rows]) for part in (d.low, d.high, d.scale))
    n_refuse, n_benign = d.count[c]
    traces = [band(layers, low, high, REFUSE if coloured else CONTROL, "between")]
    for side, values, n, colour in (
        ("refuse", high, n_refuse, REFUSE),
        ("benign", low, n_benign, BENIGN),
    ):
        traces.append(
            go.Scatter(
                x=layers,
                y=values,
                mode="lines",
                name=f"mean of the {side} side",
                legendgroup=side,
                showlegend=False,
                line={
                    "color": colour if coloured else CONTROL,
                    "width": 1.8,
                    "dash": "solid" if coloured else "dot",
                },
                customdata=_side_hovers(head, side, n, values, scale),
                hovertemplate="layer %{x}<br>%{customdata}<extra></extra>",
            )
        )
    return traces


def _side_hovers(head: str, side: str, n: int, values: Numbers, scale: Numbers) -> list[str]:
    return [
        f"{head}<br>mean of the {side} side {number(v)}, n = {n} prompts<br>"
        f"separation (noise included) {number(s)}"
        for v, s in zip(values, scale, strict=True)
    ]

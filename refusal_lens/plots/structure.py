"""What lies behind a matrix: effective dimension by layer, and what is a category's own."""

from collections.abc import Mapping
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.geometry import Structure
from refusal_lens.geometry.cosines import MEASURABLE
from refusal_lens.plots.palette import CONTROL, POOLED, QUIET, mark_of
from refusal_lens.plots.panels import band, dress
from refusal_lens.plots.text import escape, estimate_text, interval, tick
from refusal_lens.plots.titles import Titles, titles_of
from refusal_lens.sites import Site

_TEMPLATE: Final = "%{customdata}<extra></extra>"


def plot_dimension(structure: Structure, *, layer: int | None = None) -> go.Figure:
    """Effective dimension of the corrected matrix by layer with its 95% band; dashed: what as many
    random directions give. 1 is one direction for all; the largest value is one for each.

    >>> plot_dimension(structure).write_html("dimension.html")
    """
    layers = [s.layer for s in structure.sites]
    dimensions = structure.dimension
    value, low, high = ([getattr(e, x) for e in dimensions] for x in ("value", "low", "high"))
    figure = go.Figure(band(layers, low, high, POOLED, "own"))
    figure.add_scatter(
        x=layers,
        y=value,
        mode="lines+markers",
        name="effective dimension",
        line={"color": POOLED, "width": 2},
        marker_size=5,
        customdata=[
            f"layer {k}<br>{estimate_text(e)}" for k, e in zip(layers, dimensions, strict=True)
        ],
        hovertemplate=_TEMPLATE,
    )
    figure.add_scatter(
        x=layers,
        y=[e.control for e in dimensions],
        mode="lines",
        name="random directions",
        line={"color": CONTROL, "width": 1.4, "dash": "dash"},
        hovertemplate="random directions: %{y:.2f}<extra></extra>",
    )
    dress(figure, 330, 860)
    n = len(structure.categories)
    figure.update_yaxes(range=[0, n * 1.25], title="effective dimension")
    figure.update_xaxes(title={"text": "layer", "standoff": 4})
    if layer is not None:
        figure.add_vline(x=layer, line={"color": QUIET, "width": 1, "dash": "dot"})
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"}
    figure.update_layout(margin={"l": 62, "r": 20, "t": 44, "b": 46}, legend=legend)
    return figure


def plot_remainders(
    structure: Structure, *, titles: Titles = None, layer: int | None = None
) -> go.Figure:
    """For each category at one layer, with 95% intervals: its cosine with the mean of the others,
    the share of its squared length that is its own, and how reliable that remainder is.

    A full dot: the lower bound of the remainder's reliability is at least .5.

    >>> plot_remainders(structure).write_html("remainders.html")
    """
    titles = titles_of(titles, structure.categories)
    site = next((s for s in structure.sites if s.layer == layer), Site(structure.layer))
    parts = {
        "along the mean of the others (cosine)": (structure.along, [-1.05, 1.05]),
        "its own remainder (share of length²)": (structure.remainder, [-0.15, 1.1]),
        "reliability of the remainder": (structure.remainder_reliability, [-0.15, 1.1]),
    }
    figure = make_subplots(1, 3, shared_yaxes=True, subplot_titles=list(parts))
    n = len(structure.categories)
    for k, (part, across) in enumerate(parts.values(), 1):
        for i, ends in enumerate(part[structure.sites.index(site)].tolist()):
            if ends[0] == ends[0]:
                dot = _remainder(structure, site, i, ends, titles)
                figure.add_trace(dot, row=1, col=k)
            else:
                words = {"text": "undefined", "showarrow": False, "font_color": QUIET}
                figure.add_annotation(x=sum(across) / 2, y=i, row=1, col=k, **words)
        figure.update_xaxes(range=across, row=1, col=k)
    dress(figure, 86 + n * 26)
    labels = [tick(titles.get(c, c)) for c in structure.categories]
    figure.update_yaxes(range=[n - 0.5, -0.5], tickvals=list(range(n)), ticktext=labels)
    for k, at in ((1, 0.0), (3, MEASURABLE)):
        where: dict[str, Any] = {"row": 1, "col": k}
        figure.add_vline(x=at, line={"color": QUIET, "width": 1, "dash": "dot"}, **where)
    figure.update_layout(margin={"l": 142, "r": 14, "t": 44, "b": 36})
    return figure


def _remainder(
    structure: Structure,
    site: Site,
    i: int,
    ends: list[float],
    titles: Mapping[str, str],
) -> go.Scatter:
    """A dot with its interval, full where the remainder is reliable."""
    category = structure.categories[i]
    value, low, high = ends
    sure = float(structure.remainder_reliability[structure.sites.index(site), i, 1]) >= MEASURABLE
    return go.Scatter(
        x=[value],
        y=[i],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [high - value],
            "arrayminus": [value - low],
            "thickness": 1.4,
            "width": 0,
        },
        mode="markers",
        marker={
            "color": mark_of(category, titles).colour,
            "size": 9,
            "symbol": "circle" if sure else "circle-open",
        },
        customdata=[
            f"<b>{escape(titles.get(category, category))}</b>, {site}<br>"
            f"{interval(value, low, high)}, n = {structure.n[i]} pairs"
            + ("" if sure else "<br>the remainder is not reliable")
        ],
        hovertemplate=_TEMPLATE,
        showlegend=False,
    )

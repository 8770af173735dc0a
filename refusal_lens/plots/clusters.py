"""Clusters of categories as a tree, and the categories as places on a map."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots

from refusal_lens.geometry import Structure
from refusal_lens.plots.palette import POOLED, faded, mark_of
from refusal_lens.plots.panels import dress
from refusal_lens.plots.text import escape, number, tick
from refusal_lens.plots.titles import Titles, titles_of

_ROW: Final = 34
_TREE: Final = 430
_LEFT: Final = 172
_RIGHT: Final = 78
_COVERS: Final = 2.4477  # root of the .95 quantile of chi-squared with two degrees of freedom
_TEMPLATE: Final = "%{customdata}<extra></extra>"


def plot_clusters(structure: Structure, *, titles: Titles = None) -> go.Figure:
    """The tree of the categories (average linkage at 1 - corrected cosine), and beside it how often
    two of them fall into one cluster when pairs are drawn again.

    The number after a name is its cluster in the cut of largest silhouette.

    >>> plot_clusters(structure).write_html("clusters.html")
    """
    titles = titles_of(titles, structure.categories)
    order, lines = _tree(structure.links.double().numpy())
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.03)
    for x, y in lines:
        figure.add_trace(_join(x, y), row=1, col=1)
    figure.add_trace(_together(structure, order, titles), row=1, col=2)
    n = len(order)
    side = n * _ROW
    inner = _TREE + 34 + side
    dress(figure, 66 + side + 110, _LEFT + inner + _RIGHT)
    names = [structure.mapped[i] for i in order]
    labels = [tick(titles.get(c, c)) for c in names]
    ticks: dict[str, Any] = {"tickvals": list(range(n)), "showgrid": False, "ticks": ""}
    numbered = [f"{x} · {structure.clusters[i]}" for x, i in zip(labels, order, strict=True)]
    figure.update_yaxes(range=[n - 0.5, -0.5], ticktext=numbered, **ticks)
    figure.update_xaxes(domain=[0, _TREE / inner], rangemode="tozero", row=1, col=1)
    figure.update_xaxes(title="1 − corrected cosine", row=1, col=1)
    across: dict[str, Any] = {
        "domain": [1 - side / inner, 1],
        "range": [-0.5, n - 0.5],
        "tickangle": -45,
    }
    figure.update_xaxes(**across, ticktext=labels, **ticks, row=1, col=2)
    bar = {"thickness": 11, "outlinewidth": 0, "tickvals": [0, 0.5, 1], "x": 1.01}
    figure.update_layout(
        margin={"l": _LEFT, "r": _RIGHT, "t": 66, "b": 110},
        coloraxis={"colorscale": "Greys", "cmin": 0, "cmax": 1, "colorbar": bar},
    )
    heading = f"{max(structure.clusters)} clusters, mean silhouette "
    heading += f"{number(structure.silhouette)}, layer {structure.layer}"
    for text, x in ((heading, 0), ("share of draws in one cluster", 1 - side / inner)):
        at = {"x": x, "y": 1, "xref": "paper", "yref": "paper", "xanchor": "left", "yshift": 8}
        figure.add_annotation(text=text, showarrow=False, yanchor="bottom", **at)
    return figure


def _join(x: list[float], y: list[float]) -> go.Scatter:
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line={"color": POOLED, "width": 1.6},
        hovertemplate=f"joined at 1 − cosine = {number(max(x))}<extra></extra>",
        showlegend=False,
    )


def _together(structure: Structure, order: list[int], titles: Mapping[str, str]) -> go.Heatmap:
    same = structure.together[order][:, order].tolist()
    names = [escape(titles.get(c, c)) for c in (structure.mapped[i] for i in order)]
    return go.Heatmap(
        z=same,
        text=[[number(v) for v in row] for row in same],
        texttemplate="%{text}",
        textfont={"size": 10},
        customdata=[
            [
                f"<b>{a} × {b}</b><br>in one cluster in {number(same[y][x])} of the draws"
                for x, b in enumerate(names)
            ]
            for y, a in enumerate(names)
        ],
        hovertemplate=_TEMPLATE,
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )


def _tree(
    links: Float[np.ndarray, "link 4"],
) -> tuple[list[int], list[tuple[list[float], list[float]]]]:
    """Leaves from the top, and the lines of each join: there, along, and back."""
    n = len(links) + 1
    below: list[list[int]] = [[i] for i in range(n)]
    for a, b, *_ in links:
        below.append(below[int(a)] + below[int(b)])
    order = below[-1]
    height = [0.0] * n
    middle = [float(order.index(i)) for i in range(n)]
    lines: list[tuple[list[float], list[float]]] = []
    for a, b, distance, _ in links:
        i, j = int(a), int(b)
        x = [height[i], float(distance), float(distance), height[j]]
        lines.append((x, [middle[i], middle[i], middle[j], middle[j]]))
        height.append(float(distance))
        middle.append((middle[i] + middle[j]) / 2)
    return order, lines


def plot_map(structure: Structure, *, titles: Titles = None) -> go.Figure:
    """The categories in the plane, near where the angle between directions is small, each with the
    ellipse that holds 95% of its places when pairs are drawn again. Both axes are in radians.

    >>> plot_map(structure).write_html("map.html")
    """
    titles = titles_of(titles, structure.categories)
    figure = go.Figure()
    for i, c in enumerate(structure.mapped):
        mark = mark_of(c, titles)
        x, y = structure.place[i].tolist()
        covariance = structure.place_covariance[i].double().numpy()
        name = escape(titles.get(c, c))
        if np.isfinite(covariance).all():  # too few draws have none
            figure.add_trace(_around(_ellipse(covariance) + np.array([x, y]), mark.colour, name))
        figure.add_scatter(
            x=[x],
            y=[y],
            mode="markers",
            name=tick(titles.get(c, c)),
            marker={"color": mark.colour, "symbol": mark.symbol, "size": 9},
            customdata=[
                f"<b>{name}</b>, layer {structure.layer}<br>n = "
                f"{structure.n[structure.categories.index(c)]} pairs, {structure.draws} draws"
            ],
            hovertemplate=_TEMPLATE,
            legendgroup=name,
        )
    dress(figure, 560, 940)
    figure.update_yaxes(scaleanchor="x", scaleratio=1, title="radians")
    figure.update_xaxes(title={"text": "radians", "standoff": 4})
    figure.update_layout(margin={"l": 62, "r": 190, "t": 40, "b": 46})
    return figure


def _around(edge: Float[np.ndarray, "point 2"], colour: str, name: str) -> go.Scatter:
    return go.Scatter(
        x=edge[:, 0].round(4),
        y=edge[:, 1].round(4),
        mode="lines",
        line={"color": colour, "width": 1},
        fill="toself",
        fillcolor=faded(colour, 0.12),
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
    )


def _ellipse(covariance: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "point 2"]:
    """The outline of 95% of a normal distribution around 0."""
    values, vectors = np.linalg.eigh(covariance)
    turn: Any = np.linspace(0, 2 * np.pi, 61)
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    return _COVERS * circle * np.sqrt(np.clip(values, 0, None)) @ vectors.T

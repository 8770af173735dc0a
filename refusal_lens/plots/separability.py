"""Separable or a refusal direction: sign-flip tests by layer, and shares beside the control's."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go

from refusal_lens.geometry import Comparison, Geometry, Separability
from refusal_lens.geometry.comparison import SeparabilityVerdict
from refusal_lens.geometry.nulls import SEPARABLE
from refusal_lens.plots.palette import CONTROL, DIVERGING, QUIET, UNDEFINED, mark_of
from refusal_lens.plots.panels import (
    WIDTH,
    Numbers,
    band,
    dress,
    layer_names,
    place,
    plain,
    small_panels,
)
from refusal_lens.plots.text import escape, interval, number, probability, tick
from refusal_lens.plots.titles import Titles, names_of, titles_of

_LEFT: Final = 142
_RIGHT: Final = 316  # q and verdict, then the colour bar
_ROW: Final = 25
_WORDS: Final = 236


def plot_separability(
    tests: Separability, verdicts: Mapping[str, SeparabilityVerdict], *, titles: Titles = None
) -> go.Figure:
    """z of the sign-flip test by category and layer, a step an offset; q and verdict beside.

    A dot marks cells whose p against the maximum over all layers and offsets is at most .05. The
    colours are centred on 0; grey is undefined.

    >>> verdicts = rl.geometry.verdicts(tests, comparison)
    >>> plot_separability(tests, verdicts).write_html("tests.html")
    """
    titles = titles_of(titles, tests.categories)
    offsets = list(tests.offsets)
    first = offsets.index(-1) if -1 in offsets else len(offsets) - 1
    figure = go.Figure(_tests_at(tests, first, titles))
    names = [number(o, 0) for o in offsets]
    if len(offsets) > 1:
        figure.frames = [
            go.Frame(name=name, data=_tests_at(tests, o, titles), traces=[0, 1])
            for o, name in enumerate(names)
        ]
    n = len(tests.categories)
    dress(figure, 60 + n * _ROW + (130 if len(offsets) > 1 else 46))
    rows = {"tickvals": list(range(n)), "range": [n - 0.5, -0.5], "showgrid": False, "ticks": ""}
    labels = [tick(titles.get(c, c)) for c in tests.categories]
    sites = layer_names(tests.sites)
    layers = {"tickvals": list(range(len(sites))), "ticktext": sites, "showgrid": False}
    figure.update_layout(yaxis={**rows, "ticktext": labels}, xaxis={**layers, "title": "layer"})
    figure.update_xaxes(title_standoff=4)
    largest = float(tests.z.abs().nan_to_num(0.0).max()) or 1.0
    bar = {"thickness": 11, "x": 1 + _WORDS / (WIDTH - _LEFT - _RIGHT), "xanchor": "left", "len": 1}
    figure.update_layout(
        margin={"l": _LEFT, "r": _RIGHT, "t": 60, "b": 130 if len(offsets) > 1 else 46},
        coloraxis={"colorscale": DIVERGING, "cmin": -largest, "cmax": largest, "cmid": 0},
        coloraxis_colorbar={**bar, "outlinewidth": 0, "title": {"text": "z", "side": "top"}},
    )
    beside = {"xref": "paper", "x": 1, "xanchor": "left", "xshift": 10, "showarrow": False}
    for i, c in enumerate(tests.categories):
        words = f"q {probability(float(tests.q[i]))}, {verdicts[c]}"
        figure.add_annotation(text=words, y=i, yref="y", font_size=12, **beside)
    if len(offsets) > 1:
        figure.update_layout(sliders=[_slider(names, first)])
    return figure


def _tests_at(tests: Separability, o: int, titles: Mapping[str, str]) -> list[Any]:
    """The tests of all categories and layers at one offset, and what is undefined."""
    z = [plain(row, 2) for row in tests.z[:, o]]
    p = tests.p_max[:, o].tolist()
    hovers = [
        [
            f"<b>{escape(titles.get(c, c))}</b><br>{site}, offset {tests.offsets[o]}<br>"
            f"z {number(z[i][s])}, p {probability(p[i][s])} against the maximum<br>"
            f"n = {tests.n[i]} pairs, {tests.draws} sign flips"
            for s, site in enumerate(tests.sites)
        ]
        for i, c in enumerate(tests.categories)
    ]
    dots = [["•" if value <= SEPARABLE else "" for value in row] for row in p]
    shown = go.Heatmap(
        z=np.array(z, dtype=object),
        text=np.array(dots, dtype=object),
        customdata=np.array(hovers, dtype=object),
        texttemplate="%{text}",
        hovertemplate="%{customdata}<extra></extra>",
        hoverongaps=True,
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )
    missing = go.Heatmap(
        z=np.array([[0 if v is None else None for v in row] for row in z], dtype=object),
        colorscale=[[0, UNDEFINED], [1, UNDEFINED]],
        showscale=False,
        hoverinfo="skip",
        xgap=1,
        ygap=1,
    )
    return [shown, missing]


def _slider(names: list[str], first: int) -> dict[str, Any]:
    move = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}}
    return {
        "active": first,
        "steps": [{"label": name, "method": "animate", "args": [[name], move]} for name in names],
        "currentvalue": {"prefix": "offset ", "font": {"size": 13}, "xanchor": "left"},
        "pad": {"t": 44},
        "font": {"size": 10, "color": QUIET},
        "len": 0.5,
        "x": 0,
    }


def plot_shares(
    geometry: Geometry,
    control: Geometry,
    comparison: Comparison,
    verdicts: Mapping[str, SeparabilityVerdict],
    *,
    titles: Titles = None,
    names: tuple[str, str] | None = None,
) -> go.Figure:
    """One panel per category: the share by layer in the model and in its control, and the
    difference of the two with its 95% band. Above 0 the pairs have more in common than in the
    control.

    >>> verdicts = rl.geometry.verdicts(tests, comparison)
    >>> shown = plot_shares(geometry, control, comparison, verdicts)
    >>> shown.write_html("shares.html")
    """
    titles = titles_of(titles, geometry.categories)
    names = names_of(names, geometry.provenance, control.provenance)
    headings = {
        c: f"{titles.get(c, c)}: {verdicts.get(c, 'untested')}" for c in geometry.categories
    }
    figure = small_panels(geometry.categories, headings, "share")
    layers = [s.layer for s in geometry.sites]
    for i, category in enumerate(geometry.categories):
        row, column = place(i)
        n = f"n = {geometry.n[i]} pairs"
        colour = mark_of(category, titles).colour
        parts = (comparison.share, comparison.share_low, comparison.share_high)
        value, low, high = (plain(part[:, i]) for part in parts)
        hovers = [f"difference {interval(*v)}, {n}" for v in zip(value, low, high, strict=True)]
        curves = [("difference", value, hovers, {"color": colour, "dash": "dot"})]
        for name, g, line_colour in ((names[0], geometry, colour), (names[1], control, CONTROL)):
            shares = plain(g.share[:, i])
            hovers = [f"{escape(name)}: share {number(v)}, {n}" for v in shares]
            curves.append((escape(name), shares, hovers, {"color": line_colour}))
        figure.add_trace(band(layers, low, high, colour, "difference"), row=row, col=column)
        for name, values, hovers, line in curves:
            trace = _curve(name, layers, values, escape(titles.get(category, category)), hovers)
            trace.update(line=line, line_width=1.8, showlegend=i == 0)
            figure.add_trace(trace, row=row, col=column)
        where: dict[str, Any] = {"row": row, "col": column}
        figure.add_hline(y=0, line={"color": QUIET, "width": 0.7}, **where)
    return figure


def _curve(
    name: str, layers: list[int], values: Numbers, title: str, words: list[str]
) -> go.Scatter:
    return go.Scatter(
        x=layers,
        y=values,
        mode="lines",
        name=name,
        legendgroup=name,
        customdata=[
            f"<b>{title}</b>, layer {k}<br>{w}" for k, w in zip(layers, words, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )

"""The first two figures that a report opens with: how many directions, and how similar."""

from collections.abc import Mapping, Sequence
from typing import Final

import plotly.graph_objects as go

from refusal_lens.geometry import Geometry
from refusal_lens.geometry.comparison import SeparabilityVerdict
from refusal_lens.geometry.cosines import MEASURABLE
from refusal_lens.intervals import finite_or_none
from refusal_lens.plots.effects import error_bars
from refusal_lens.plots.front import ROWS, WIDTH, circles, in_rows
from refusal_lens.plots.palette import DIVERGING, QUIET, TEXT, UNDEFINED, mark_of
from refusal_lens.plots.text import escape, estimate_text, interval, tick
from refusal_lens.plots.titles import Titles, titles_of
from refusal_lens.records import Estimate
from refusal_lens.sites import Site

BEYOND_CONTROL: Final[SeparabilityVerdict] = "refusal direction"
_NUMBERED: Final = 6  # a matrix of as many categories has room for numbers
_STAR: Final = 1.12
_BAR: Final = {
    "thickness": 9, "len": 1, "outlinewidth": 0, "tickvals": [-1, 0, 1],
    "ticktext": ["−1", "0", "1"], "x": 1.02, "xpad": 2,
}  # fmt: skip


def plot_front_directions(
    geometry: Geometry,
    verdicts: Mapping[str, SeparabilityVerdict],
    *,
    layer: int,
    titles: Titles = None,
    control: Geometry | None = None,
) -> go.Figure:
    """One row per category: reliability with its interval, filled where measurable.

    A star: beyond the control model. Open grey circles: the control model's reliability.

    >>> shown = plot_front_directions(geometry, {"advice": "separable"}, layer=15)
    >>> shown.write_html("directions.html")
    """
    titles = titles_of(titles, geometry.categories)
    s, rows = geometry.sites.index(Site(layer)), range(len(geometry.categories))
    estimates = [_reliability(geometry, s, i) for i in rows]
    kept = geometry.measurable()[s].tolist()
    names = [escape(titles.get(c, c)) for c in geometry.categories]
    figure = go.Figure()
    if control is not None and Site(layer) in control.sites:
        figure.add_trace(_control_reliability(control, geometry.categories, layer))
    colours = [mark_of(c, titles).colour for c in geometry.categories]
    figure.add_trace(
        go.Scatter(
            x=[e.value for e in estimates],
            y=list(rows),
            error_x=error_bars(estimates, QUIET) | {"width": 0},
            mode="markers",
            marker={
                "color": [c if k else "#ffffff" for c, k in zip(colours, kept, strict=True)],
                "size": 9,
                "line": {"width": 1.8, "color": colours},
            },
            customdata=[
                f"<b>{name}</b><br>reliability {estimate_text(e)} pairs<br>"
                f"{'measurable' if k else 'not measurable'}; "
                f"{escape(verdicts.get(c, 'not tested'))}"
                for name, e, k, c in zip(names, estimates, kept, geometry.categories, strict=True)
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    figure.add_trace(
        _stars([i for i, c in _numbered(geometry) if verdicts.get(c) == BEYOND_CONTROL])
    )
    in_rows(figure, 132, [f"{tick(titles.get(c, c), 17)} {i + 1}" for i, c in _numbered(geometry)])
    figure.add_vline(x=MEASURABLE, line={"color": QUIET, "width": 1, "dash": "dot"})
    figure.update_xaxes(range=[-0.06, 1.2], tickvals=[0, 0.5, 1], title_text="reliability")
    return figure


def _stars(rows: list[int]) -> go.Scatter:
    return go.Scatter(
        x=[_STAR] * len(rows),
        y=rows,
        mode="markers",
        marker={"symbol": "star", "size": 9, "color": TEXT},
        hovertemplate="refusal direction: beyond the control model<extra></extra>",
    )


def _numbered(geometry: Geometry) -> list[tuple[int, str]]:
    return list(enumerate(geometry.categories))


def _reliability(g: Geometry, s: int, i: int) -> Estimate:
    value, low, high = (
        float(part[s, i]) for part in (g.reliability, g.reliability_low, g.reliability_high)
    )
    if value != value:
        return Estimate(None, None, None, g.n[i], "reliability, jackknife")
    return Estimate(value, low, high, g.n[i], "reliability, jackknife")


def _control_reliability(control: Geometry, categories: Sequence[str], layer: int) -> go.Scatter:
    s = control.sites.index(Site(layer))
    by_category = {c: _reliability(control, s, i) for i, c in _numbered(control)}
    rows = [(i, by_category[c]) for i, c in enumerate(categories) if c in by_category]
    return circles(
        [e.value for _, e in rows],
        [i for i, _ in rows],
        [f"control model: reliability {estimate_text(e)} pairs" for _, e in rows],
    )


def plot_front_cosines(geometry: Geometry, *, layer: int, titles: Titles = None) -> go.Figure:
    """Corrected cosines at one layer; rows and columns carry the numbers of the first figure.

    Struck cells belong to a direction that is not measurable, grey ones are undefined.

    >>> plot_front_cosines(geometry, layer=15).write_html("cosines.html")
    """
    titles = titles_of(titles, geometry.categories)
    s, k = geometry.sites.index(Site(layer)), len(geometry.categories)
    names = [escape(titles.get(c, c)) for c in geometry.categories]
    values = [[finite_or_none(v) for v in row] for row in geometry.corrected[s]]
    figure = go.Figure(
        go.Heatmap(
            z=values,
            customdata=[[_pair(geometry, s, (i, j), names) for j in range(k)] for i in range(k)],
            hovertemplate="%{customdata}<extra></extra>",
            texttemplate="%{z:.2f}" if k <= _NUMBERED else None,
            colorscale=DIVERGING,
            zmin=-1,
            zmax=1,
            xgap=1,
            ygap=1,
            colorbar=_BAR,
        )
    )
    kept = geometry.measurable()[s].tolist()
    struck = [
        (i, j)
        for i in range(k)
        for j in range(k)
        if not (kept[i] and kept[j]) and values[i][j] is not None
    ]
    figure.add_trace(_strokes(struck, ROWS / k - 2))
    numbers = [str(i + 1) for i in range(k)]
    in_rows(figure, 24, numbers)
    figure.update_layout(plot_bgcolor=UNDEFINED, margin_r=WIDTH - 24 - ROWS)
    figure.update_xaxes(
        range=[-0.5, k - 0.5],
        tickvals=list(range(k)),
        ticktext=numbers,
        title_text="corrected cosine",
        tickangle=0,
    )
    figure.update_xaxes(showgrid=False, ticks="")
    figure.update_yaxes(range=[k - 0.5, -0.5], ticks="")
    return figure


def _strokes(cells: list[tuple[int, int]], size: float) -> go.Scatter:
    """Through the cells (row, column) of directions that are not measurable."""
    return go.Scatter(
        x=[j for _, j in cells],
        y=[i for i, _ in cells],
        mode="markers",
        marker={"symbol": "line-ne", "size": size, "line": {"width": 1.1, "color": "#8b8b8b"}},
        hoverinfo="skip",
    )


def _pair(g: Geometry, s: int, at: tuple[int, int], names: Sequence[str]) -> str:
    i, j = at
    if i == j:
        return f"<b>{names[i]}</b> with itself"
    value, low, high = (finite_or_none(part[s, i, j]) for part in (g.corrected, g.low, g.high))
    return (
        f"<b>{names[i]}</b> and <b>{names[j]}</b><br>{interval(value, low, high)}, "
        f"n = {min(g.n[i], g.n[j])} pairs"
    )

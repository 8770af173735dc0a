"""Cosine matrices with a slider over layers, beside the control model's and reliability."""

from collections.abc import Mapping
from typing import Final

import plotly.graph_objects as go

from refusal_lens.geometry import Comparison, Geometry
from refusal_lens.geometry.cosines import MEASURABLE
from refusal_lens.plots.cosine_panels import CosinePanel, PanelAtSite, Value
from refusal_lens.plots.matrices import Cells, Hovers, Sheet, SidePanel, plot_matrices
from refusal_lens.plots.palette import CONTROL, POOLED
from refusal_lens.plots.panels import layer_names
from refusal_lens.plots.text import escape, interval, number
from refusal_lens.plots.titles import Titles, names_of, titles_of
from refusal_lens.sites import Site

_TEMPLATE: Final = (
    "<b>%{{customdata[0]}} × %{{customdata[1]}}</b><br>{where}<br>"
    "corrected %{{customdata[2]}}, n = %{{customdata[3]}} pairs<br>"
    "naive %{{customdata[4]}}, its ceiling %{{customdata[5]}}<br>"
    "reliability %{{customdata[0]}}: %{{customdata[6]}}<br>"
    "reliability %{{customdata[1]}}: %{{customdata[7]}}<extra></extra>"
)
_DIFFERENCE: Final = (
    "<b>%{{customdata[0]}} × %{{customdata[1]}}</b><br>{where}<br>"
    "difference %{{customdata[2]}}, n = %{{customdata[3]}} pairs<br>"
    "{names[0]}: %{{customdata[4]}}, ceiling of its naive cosine %{{customdata[5]}}<br>"
    "{names[1]}: %{{customdata[6]}}, ceiling of its naive cosine %{{customdata[7]}}"
    "<extra></extra>"
)


def plot_cosines(
    geometry: Geometry,
    *,
    titles: Titles = None,
    value: Value = "corrected",
    control: Geometry | None = None,
    layer: int | None = None,
    names: tuple[str, str] | None = None,
) -> go.Figure:
    """Cosines of every two categories, one matrix per layer; red is positive, the range is -1 to 1.

    Grey cells are undefined. Struck cells belong to a category whose direction is not measurable
    there (lower 95% bound of reliability under .5). `control` is the geometry of a control model;
    one slider, which begins at `layer`, moves all panels. `names` are those of the two models.

    >>> plot_cosines(geometry, control=control, layer=15).write_html("cosines.html")
    """
    titles = titles_of(titles, geometry.categories)
    names = names_of(names, geometry.provenance, control.provenance if control else None)
    panels = _panels(geometry, control, titles, names, value)
    sites = geometry.sites
    sheets = [
        Sheet(_heading(panel), panel.ticks, [_cells(panel, site) for site in sites])
        for panel in panels
    ]
    return plot_matrices(
        sheets, layer_names(sites), first=_first(sites, layer), side=_reliabilities(panels, sites)
    )


def plot_difference(
    comparison: Comparison,
    model: Geometry,
    control: Geometry,
    *,
    titles: Titles = None,
    layer: int | None = None,
    names: tuple[str, str] | None = None,
) -> go.Figure:
    """Corrected cosines of the model minus those of its control, one matrix per layer.

    Struck cells belong to a category whose direction is not measurable in one of the two. A hover
    holds the interval of the difference and both cosines with theirs.

    >>> plot_difference(comparison, geometry, control).write_html("difference.html")
    """
    titles = titles_of(titles, model.categories)
    names = names_of(names, model.provenance, control.provenance)
    panels = _panels(model, control, titles, names, "corrected")
    sites = comparison.sites
    shown = [_difference(comparison, panels, s) for s in range(len(sites))]
    heading = f"corrected cosine,<br>{panels[0].name} minus {panels[1].name}"
    return plot_matrices(
        [Sheet(heading, panels[0].ticks, shown)],
        layer_names(sites),
        first=_first(sites, layer),
        side=_reliabilities(panels, sites),
    )


def _panels(
    model: Geometry,
    control: Geometry | None,
    titles: Mapping[str, str],
    names: tuple[str, str],
    value: Value,
) -> list[CosinePanel]:
    shown = tuple(titles.get(c, c) for c in model.categories)
    return [
        CosinePanel(escape(name), g, model.categories, shown, value)
        for name, g in zip(names, (model, control), strict=True)
        if g is not None
    ]


def _heading(panel: CosinePanel) -> str:
    frame = panel.geometry.frame
    note = "" if frame == "as they are" else f"<br>differences {escape(frame)}"
    return f"{panel.value} cosine, {panel.name}{note}"


def _first(sites: tuple[Site, ...], layer: int | None) -> int:
    layers = [s.layer for s in sites]
    return layers.index(layer) if layer in layers else len(layers) // 2


def _cells(panel: CosinePanel, site: Site) -> Cells:
    at_site = panel.at(site)
    values, n = at_site.values(panel.value), len(panel.labels)
    struck = tuple(
        (x, y)
        for y in range(n)
        for x in range(n)
        if values[y][x] is not None and at_site.doubtful(x, y)
    )
    where = f"{panel.name}, {site}, offset {panel.geometry.offset}"
    hovers: Hovers = [[()] * n for _ in range(n)]
    for y in range(n):
        for x in range(y, n):
            hovers[y][x] = hovers[x][y] = _hover(panel, at_site, y, x)
    return Cells(values, _TEMPLATE.format(where=where), hovers, struck)


def _hover(panel: CosinePanel, at_site: PanelAtSite, y: int, x: int) -> tuple[str, ...]:
    """What a hover says of a cell; `_TEMPLATE` holds the words between."""
    names = (panel.labels[y], panel.labels[x])
    a, b = at_site.rows[y], at_site.rows[x]
    if not at_site.cosines or a is None or b is None:
        return (*names, "not measured here", "–", "–", "–", "–", "–")
    naive, corrected, low, high, ceiling = (part[a][b] for part in at_site.cosines)
    return (
        *names,
        interval(corrected, low, high),
        str(min(at_site.n[a], at_site.n[b])),
        number(naive),
        number(ceiling),
        at_site.reliable[y],
        at_site.reliable[x],
    )


def _difference(comparison: Comparison, panels: list[CosinePanel], s: int) -> Cells:
    """One matrix of differences; the hovers take the two cosines from the panels'."""
    site, n = comparison.sites[s], len(comparison.categories)
    parts = (comparison.cosine, comparison.cosine_low, comparison.cosine_high)
    value, low, high = (part[s].tolist() for part in parts)
    both = [panel.at(site) for panel in panels]
    hovers: Hovers = [[()] * n for _ in range(n)]
    for y in range(n):
        for x in range(y, n):
            ours, theirs = (
                _hover(p, at_site, y, x) for p, at_site in zip(panels, both, strict=True)
            )
            change = interval(value[y][x], low[y][x], high[y][x])
            count = str(min(comparison.n[y], comparison.n[x]))
            hover = (*ours[:2], change, count, ours[2], ours[5], theirs[2], theirs[5])
            hovers[y][x] = hovers[x][y] = hover
    struck = tuple(
        (x, y)
        for y in range(n)
        for x in range(n)
        if value[y][x] == value[y][x] and any(at_site.doubtful(x, y) for at_site in both)
    )
    names = (panels[0].name, panels[1].name)
    where = f"{names[0]} minus {names[1]}, {site}, offset {comparison.offset}"
    values = [[None if v != v else round(v, 4) for v in row] for row in value]
    return Cells(values, _DIFFERENCE.format(where=where, names=names), hovers, struck)


def _reliabilities(panels: list[CosinePanel], sites: tuple[Site, ...]) -> SidePanel:
    names = [panel.name.replace(" (", "<br>(") for panel in panels]  # the column is narrow
    keyed = [f"{dot} {name}" for dot, name in zip("●○", names, strict=False)]

    def traces(step: int, whole: bool) -> list[go.Scatter]:
        return [
            _reliability(panel, sites[step], i, len(panels), whole)
            for i, panel in enumerate(panels)
        ]

    across = {"range": [-0.12, 1.08], "tickvals": [0, MEASURABLE, 1], "gridcolor": "#edf0f3"}
    heading = "reliability<br>" + "<br>".join(keyed)
    return SidePanel(traces, heading, {**across, "zeroline": False}, MEASURABLE)


def _reliability(panel: CosinePanel, site: Site, i: int, panels: int, whole: bool) -> go.Scatter:
    at_site = panel.at(site)
    shown = [y for y, ends in enumerate(at_site.bounds) if ends is not None]
    value, low, high = ([at_site.ends(y)[k] for y in shown] for k in range(3))
    trace = go.Scatter(
        x=value,
        y=[y + (0.16 if i else (-0.16 if panels > 1 else 0)) for y in shown],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [max(0.0, b - v) for v, b in zip(value, high, strict=True)],
            "arrayminus": [max(0.0, v - a) for v, a in zip(value, low, strict=True)],
        },
        customdata=[
            f"<b>{panel.labels[y]}</b><br>{panel.name}, {site}<br>reliability "
            f"{at_site.reliable[y]}, n = {at_site.n[at_site.rows[y] or 0]} pairs"
            for y in shown
        ],
    )
    if whole:
        colour = CONTROL if i else POOLED
        trace.update(
            mode="markers",
            name=panel.name,
            marker={"size": 7, "color": colour, "symbol": "circle-open" if i else "circle"},
            error_x_color=colour,
            error_x_thickness=1.2,
            error_x_width=0,
            hovertemplate="%{customdata}<extra></extra>",
            showlegend=False,
        )
    return trace

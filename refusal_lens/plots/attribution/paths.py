"""Figures of single parts: a head's way to the direction, the words it reads, an MLP's neurons."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.attribution import Component, HeadPath, HeadSources, NeuronShares, SourceRegions
from refusal_lens.plots.attribution.grid import MENU_TOP, centred_colours, choose
from refusal_lens.plots.palette import BENIGN, CONTROL, QUIET, REFUSE
from refusal_lens.plots.panels import WIDTH, dress
from refusal_lens.plots.text import escape, estimate_text, number, token
from refusal_lens.plots.titles import Titles, titles_of
from refusal_lens.records import Estimate

_CARRIERS: Final = 4
_UNITS: Final = "change of the projection (residual-stream units)"


def plot_paths(
    by_category: Mapping[str, Sequence[HeadPath]], *, titles: Titles = None
) -> go.Figure:
    """What each head changes of r . x, by route: directly, or through later heads and MLPs.

    Bars are means over pairs with 95% intervals, open circles the placebo. The hover names the
    later parts that carry most.

    >>> plot_paths({"advice": [followed["path_0"]]}).write_html("paths.html")
    """
    titles = titles_of(titles, by_category)
    figure, owners = go.Figure(), list[str]()
    layouts: dict[str, dict[str, Any]] = {}
    most, ends = 0, [0.0]
    for category, paths in by_category.items():
        name = escape(titles.get(category, category))
        rows = [(p, route, e) for p in paths for route, e in p.routes().items()]
        labels = [f"<b>{p.head.name}</b>, {r}" if r == "total" else r for p, r, _ in rows]
        estimates = [e for _, _, e in rows]
        hovers = [
            f"<b>{p.head.name}</b>, {route}<br>{estimate_text(e)}{_carried(p, route)}"
            for p, route, e in rows
        ]
        for trace in _bars(estimates, hovers, [r == "total" for _, r, _ in rows]):
            figure.add_trace(trace)
            owners.append(name)
        layouts[name] = {"yaxis.tickvals": list(range(len(rows))), "yaxis.ticktext": labels}
        most = max(most, len(rows))
        ends += [abs(v) for e in estimates for v in (e.value, e.low, e.high, e.control) if v]
    _across(figure, most, max(ends), _UNITS)
    choose(figure, owners, layouts)
    return figure


def plot_neurons(shares: Sequence[NeuronShares], *, titles: Titles = None) -> go.Figure:
    """The neurons of an MLP that write most of a category's class difference.

    Between the dotted lines lies what the largest neuron reaches with the sides swapped at random.

    >>> plot_neurons([followed["neurons_0"]]).write_html("neurons.html")
    """
    titles = titles_of(titles, [s.category for s in shares])
    figure, owners = go.Figure(), list[str]()
    layouts: dict[str, dict[str, Any]] = {}
    ends = [0.0]
    most = max(len(s.neurons) for s in shares)
    for s in shares:
        name = f"{escape(titles.get(s.category, s.category))}, MLP of layer {s.layer}"
        labels = [f"L{s.layer} N{n}" for n in s.neurons]
        values, low, high = s.scores.tolist(), s.low.tolist(), s.high.tolist()
        method = "mean over pairs, t interval"
        estimates = [
            Estimate(v, lo, hi, s.n, method) for v, lo, hi in zip(values, low, high, strict=True)
        ]
        hovers = [
            f"<b>{label}</b><br>{estimate_text(e)} pairs; largest by chance {number(s.control)}"
            for label, e in zip(labels, estimates, strict=True)
        ]
        for trace in (*_bars(estimates, hovers, [True] * len(values)), *_chance(s.control, most)):
            figure.add_trace(trace)
            owners.append(name)
        layouts[name] = {"yaxis.tickvals": list(range(len(labels))), "yaxis.ticktext": labels}
        layouts[name]["annotations"] = [_of_the_layer(s)]
        ends += [abs(v) for v in (*values, *low, *high, s.control)]
    _across(figure, most, max(ends), "share of the class difference (residual-stream units)")
    choose(figure, owners, layouts)
    return figure


def _of_the_layer(s: NeuronShares) -> dict[str, Any]:
    """What the shown neurons and all others of the layer add up to, as a note above the bars."""
    shown = float(s.scores.sum())
    text = (
        f"whole MLP {number(shown + s.rest)} = {len(s.neurons)} neurons {number(shown)} + "
        f"{s.n_neurons - len(s.neurons)} others {number(s.rest)}, n = {s.n} pairs"
    )
    note = {"text": text, "x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "paper"}
    return note | {"yanchor": "bottom", "showarrow": False, "font": {"size": 12.5, "color": QUIET}}


def _bars(
    estimates: Sequence[Estimate], hovers: Sequence[str], strong: Sequence[bool]
) -> list[go.Bar | go.Scatter]:
    y = list(range(len(estimates)))
    values = [e.value for e in estimates]
    bars = go.Bar(
        x=values,
        y=y,
        orientation="h",
        marker={
            "color": [REFUSE if (v or 0) > 0 else BENIGN for v in values],
            "opacity": [1.0 if s else 0.45 for s in strong],
        },
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [0 if e.high is None else e.high - (e.value or 0) for e in estimates],
            "arrayminus": [0 if e.low is None else (e.value or 0) - e.low for e in estimates],
            "thickness": 1.1,
            "width": 3,
        },
        customdata=list(hovers),
        hovertemplate="%{customdata}<extra></extra>",
        showlegend=False,
    )
    if all(e.control is None for e in estimates):
        return [bars]
    placebo = go.Scatter(
        x=[e.control for e in estimates],
        y=y,
        mode="markers",
        name="placebo",
        marker={"symbol": "circle-open", "size": 8, "color": CONTROL, "line": {"width": 2}},
        hovertemplate="placebo %{x:.2f}<extra></extra>",
    )
    return [bars, placebo]


def _chance(control: float, rows: int) -> list[go.Scatter]:
    return [
        go.Scatter(
            x=[end, end],
            y=[-0.6, rows - 0.4],
            mode="lines",
            name="largest by chance",
            legendgroup="chance",
            showlegend=end > 0,
            line={"color": CONTROL, "width": 1.5, "dash": "dot"},
            hovertemplate=f"largest of all neurons by chance: {number(control)}<extra></extra>",
        )
        for end in (control, -control)
    ]


def _across(figure: go.Figure, rows: int, reach: float, title: str) -> None:
    dress(figure, MENU_TOP + 21 * rows + 66, 900)
    figure.update_xaxes(range=[-1.05 * reach, 1.05 * reach], title={"text": title, "standoff": 4})
    figure.update_yaxes(tickmode="array", range=[rows - 0.4, -0.6], showgrid=False)
    figure.update_layout(
        margin={"l": 150, "r": 20, "t": MENU_TOP, "b": 50},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.01, "yanchor": "bottom"},
        bargap=0.3,
    )
    figure.add_vline(x=0, line={"color": QUIET, "width": 0.8})


def _carried(path: HeadPath, route: str) -> str:
    """The later parts of a route that change most, for a hover."""
    if not route.startswith("through"):
        return ""
    heads = route.endswith("heads")
    carriers = [c for c in path.carriers(len(path.components)) if c.kind.startswith("MLP") != heads]
    names = [f"{c.name} {number(path.estimate(c).value)}" for c in carriers[:_CARRIERS]]
    return f"<br>{'; '.join(names)}" if names else ""


def plot_sources(
    pairs: Sequence[tuple[HeadSources, HeadSources, SourceRegions]],
    *,
    titles: Titles = None,
) -> go.Figure:
    """Head x token: from which words a head carries what it writes; above a prompt, below its twin.

    The template's own beginning, a system prompt included, is summed in the first column.

    >>> words = [(followed["sources"], followed["sources_twin"], followed["regions"])]
    >>> plot_sources(words).write_html("words.html")
    """
    titles = titles_of(titles, [r.category for *_, r in pairs])
    figure = make_subplots(
        rows=2, cols=1, vertical_spacing=0.34, subplot_titles=["refuse side", "its benign twin"]
    )
    owners: list[str] = []
    layouts: dict[str, dict[str, Any]] = {}
    reach, wide, high = 0.0, 0, 0
    for refuse, comply, regions in pairs:
        name = escape(titles.get(regions.category, regions.category))
        heads = regions.heads
        layouts[name] = {}
        for row, sources in enumerate((refuse, comply), 1):
            trace, ticks = _tokens(sources, heads, regions.template[0])
            figure.add_trace(trace, row=row, col=1)
            owners.append(name)
            axis = "" if row == 1 else "2"
            layouts[name] |= {
                f"xaxis{axis}.tickvals": list(range(len(ticks))),
                f"xaxis{axis}.ticktext": ticks,
                f"yaxis{axis}.tickvals": list(range(len(heads))),
                f"yaxis{axis}.ticktext": [h.name for h in heads],
            }
            reach = max(reach, float(np.abs(np.array(trace.z)).max()))
            wide = max(wide, len(ticks))
        high = max(high, len(heads))
    dress(figure, MENU_TOP + 2 * (26 * high + 96), max(520, min(WIDTH, 190 + 34 * wide)))
    mono = {"family": "ui-monospace, 'DejaVu Sans Mono', monospace", "size": 11}
    figure.update_xaxes(tickmode="array", tickangle=-55, tickfont=mono, showgrid=False)
    figure.update_yaxes(tickmode="array", showgrid=False, range=[high - 0.5, -0.5])
    figure.update_layout(
        margin={"l": 64, "r": 112, "t": MENU_TOP, "b": 96},
        coloraxis=centred_colours(reach, "written"),
    )
    choose(figure, owners, layouts)
    return figure


def _tokens(
    sources: HeadSources, heads: Sequence[Component], first: int
) -> tuple[go.Heatmap, list[str]]:
    scores = sources.scores[[sources.heads.index(h) for h in heads]]
    values = [[float(row[:first].sum()), *map(float, row[first:])] for row in scores]
    ticks = ["…", *(token(t) for t in sources.tokens[first:])]
    hovers = [
        [
            f"<b>{head.name}</b> from {t if i else 'all before'}: {number(v)}"
            + (f"<br>position {sources.positions[first + i - 1]}" if i else "")
            + "<br>one prompt, n = 1"
            for i, (t, v) in enumerate(zip(ticks, row, strict=True))
        ]
        for head, row in zip(heads, values, strict=True)
    ]
    trace = go.Heatmap(
        z=[[round(v, 4) for v in row] for row in values],
        customdata=np.array(hovers, dtype=object),
        hovertemplate="%{customdata}<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )
    return trace, ticks

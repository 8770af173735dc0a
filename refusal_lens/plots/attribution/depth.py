"""Figures of cumulative knock-outs, of quantities by depth, and of token attribution."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go
from jaxtyping import Float
from plotly.subplots import make_subplots
from torch import Tensor

from refusal_lens.attribution import DepthProfile, KnockOut, TokenMap
from refusal_lens.plots.attribution.grid import MENU_TOP, choose, hold_ranges
from refusal_lens.plots.palette import BENIGN, CONTROL, QUIET, REFUSE
from refusal_lens.plots.panels import band, dress, plain
from refusal_lens.plots.text import escape, estimate_text, interval, number
from refusal_lens.plots.titles import Titles, titles_of
from refusal_lens.plots.tokens import plot_tokens

_STRONGEST: Final = "strongest writers"
_READ: Final = ("projection (stream units)", "refusal score (nats)")
REPLACED: Final = {
    "mean": "the benign mean",
    "zero": "nothing (zero)",
    "resample": "one benign prompt's",
}
POOLED: Final = {"pooled": "pooled over categories"}
_ROWS: Final = (
    "found by a probe",
    "read out of the layer",
    "steered at the layer",
    "written by the layer",
)
_UNITS: Final = ("accuracy", "refusal score (nats)", "refusal score (nats)", "stream units")


def plot_knock_outs(knock_outs: Sequence[KnockOut], *, titles: Titles = None) -> go.Figure:
    """Projection and refusal score as the top-k components are ablated; k random ones as baseline.

    A row for each thing that takes a writer's place. Bands are 95% t intervals over prompts; the
    dotted line is the benign prompts' unedited mean.

    >>> plot_knock_outs([curve]).write_html("knock_outs.html")
    """
    titles = titles_of(titles, [k.category for k in knock_outs])
    kinds = [r for r in REPLACED if any(k.cuts.replacement == r for k in knock_outs)]
    headings = [f"{unit}; replaced by {REPLACED[r]}" for r in kinds for unit in _READ]
    figure = make_subplots(
        rows=len(kinds),
        cols=2,
        horizontal_spacing=0.09,
        vertical_spacing=0.34 / max(len(kinds), 2),
        subplot_titles=headings,
    )
    owners: list[str] = []
    counts = sorted({n for k in knock_outs for n in k.cuts.counts})
    at = {n: float(i) for i, n in enumerate(counts)}
    for k in knock_outs:
        name = escape(titles.get(k.category, POOLED.get(k.category, k.category)))
        row = 1 + kinds.index(k.cuts.replacement)
        for column in (1, 2):
            for trace in _curves(k, at, column == 2, legend=(row, column) == (1, 1)):
                figure.add_trace(trace, row=row, col=column)
                owners.append(name)
    # One axis for all, whichever the menu shows, with an equal step from count to count.
    ticks: dict[str, Any] = {"tickvals": list(at.values()), "ticktext": list(map(str, counts))}
    figure.update_xaxes(tickmode="array", **ticks)
    height, top = 130 + 300 * len(kinds), MENU_TOP + 24
    dress(figure, height, 1000)
    figure.update_xaxes(title={"text": "writers replaced", "standoff": 4}, row=len(kinds))
    figure.update_layout(
        margin={"l": 62, "r": 20, "t": top, "b": 46},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "yanchor": "bottom"},
        legend_y=1 + 24 / (height - top - 46),
    )
    hold_ranges(figure, columns=2)
    choose(figure, owners)
    return figure


def _curves(
    k: KnockOut, at: Mapping[int, float], scored: bool, *, legend: bool
) -> list[go.Scatter]:
    """The lines of one knock-out, each count of components at its place on the axis."""
    curve = k.curve("score" if scored else "projection")
    benign = k.benign_score if scored else k.benign_projection
    x = [at[n] for n in k.cuts.counts]
    scale = f", scored by the {k.scored_by}" if scored else ""
    replaced = [", ".join(c.name for c in k.order[:n]) or "none" for n in k.cuts.counts]
    strongest = go.Scatter(
        x=x,
        y=[e.value for e in curve],
        mode="lines+markers",
        name=_STRONGEST,
        line={"color": REFUSE, "width": 2},
        customdata=[
            f"{estimate_text(e)}{scale}<br>{_cut(r)}" for e, r in zip(curve, replaced, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )
    random = go.Scatter(
        x=x,
        y=[e.control for e in curve],
        mode="lines+markers",
        name=f"as many random parts ({k.cuts.draws} orders)",
        line={"color": CONTROL, "width": 2, "dash": "dash"},
        hovertemplate="random parts: %{y:.2f}<extra></extra>",
    )
    rest = go.Scatter(
        x=[min(x), max(x)],
        y=[benign, benign],
        mode="lines",
        name="benign prompts, unedited",
        line={"color": BENIGN, "width": 1.5, "dash": "dot"},
        hovertemplate="benign mean: %{y:.2f}<extra></extra>",
    )
    for trace in (strongest, random, rest):
        trace.update(showlegend=legend, legendgroup=trace.name)
    return [band(x, [e.low for e in curve], [e.high for e in curve], REFUSE, _STRONGEST)] + [
        strongest,
        random,
        rest,
    ]


def _cut(names: str, most: int = 70) -> str:
    return names if len(names) <= most else names[: names.rindex(",", 0, most)] + ", …"


def plot_depth(profiles: Sequence[DepthProfile], *, titles: Titles = None) -> go.Figure:
    """One category by depth: probe, logit lens, steering and writing, under each other.

    >>> plot_depth(profiles).write_html("depth.html")
    """
    titles = titles_of(titles, [p.category for p in profiles])
    shared: dict[str, Any] = {"shared_xaxes": "all"}
    figure = make_subplots(
        rows=4, cols=1, **shared, vertical_spacing=0.055, subplot_titles=list(_ROWS)
    )
    owners: list[str] = []
    for p in profiles:
        name = escape(titles.get(p.category, p.category))
        for row, traces in enumerate(_depth_rows(p), 1):
            for trace in traces:
                figure.add_trace(trace, row=row, col=1)
                owners.append(name)
    dress(figure, 860, 940)
    for row, unit in enumerate(_UNITS, 1):
        figure.update_yaxes(title={"text": unit, "font": {"size": 11.5}}, row=row, col=1)
    hold_ranges(figure)
    figure.update_yaxes(range=[-0.03, 1.05], row=1, col=1)
    chance: dict[str, Any] = {"row": 1, "col": 1, "line": {"color": QUIET, "width": 0.8}}
    figure.add_hline(y=0.5, **chance)
    figure.update_xaxes(title={"text": "layer", "standoff": 4}, row=4, col=1)
    figure.update_layout(
        margin={"l": 66, "r": 210, "t": MENU_TOP, "b": 46},
        legend={"x": 1.01, "y": 1},
        barmode="relative",
    )
    choose(figure, owners)
    return figure


def _depth_rows(p: DepthProfile) -> tuple[list[go.Scatter | go.Bar], ...]:
    n_probe, n_lens, n_pairs = p.n
    probe = f"n = {n_probe} prompts"
    lens = f"n = {n_lens} prompts per side"
    steered = f"direction of {escape(p.steered_by)}"
    rows: tuple[list[go.Scatter | go.Bar], ...] = (
        [
            *_line(p, "decodable", "probe", REFUSE, probe),
            *_line(p, "decodable_shuffled", "probe, shuffled labels", CONTROL, probe, "dash"),
        ],
        [
            *_line(p, "lens_refuse", "lens, refuse side", REFUSE, lens),
            *_line(p, "lens_comply", "lens, benign side (control)", BENIGN, lens, "dash"),
        ],
        [
            *_line(p, "ablation", "ablated, refuse side", "#117733", steered),
            *_line(p, "ablation_control", "refuse side, unedited", CONTROL, steered, "dash"),
            *_line(p, "addition", "added, benign side", "#ee7733", steered),
            *_line(p, "addition_control", "benign side, unedited", CONTROL, steered, "dot"),
        ],
        [
            _bar(p, "heads", "heads", "#0077bb", n_pairs),
            _bar(p, "mlps", "MLP", "#ee7733", n_pairs),
        ],
    )
    return rows


def _line(
    p: DepthProfile, field: str, name: str, colour: str, n: str, dash: str = "solid"
) -> list[go.Scatter]:
    def bound(suffix: str) -> Float[Tensor, " layer"] | None:
        return getattr(p, field + suffix, None)

    values: Float[Tensor, " layer"] = getattr(p, field)
    low, high = bound("_low"), bound("_high")
    kept = [i for i, v in enumerate(values.tolist()) if v == v]
    if not kept:
        return []
    x = [p.layers[i] for i in kept]
    line = go.Scatter(
        x=x,
        y=plain(values[kept]),
        mode="lines+markers" if dash == "solid" else "lines",
        name=name,
        legendgroup=name,
        meta=field,
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 5},
        customdata=[
            number(float(values[i]))
            if low is None or high is None
            else interval(float(values[i]), float(low[i]), float(high[i]))
            for i in kept
        ],
        hovertemplate=f"<b>{name}</b>, layer %{{x}}<br>%{{customdata}}, {n}<extra></extra>",
    )
    if low is None or high is None:
        return [line]
    return [band(x, plain(low[kept]), plain(high[kept]), colour, name), line]


def _bar(p: DepthProfile, field: str, name: str, colour: str, n: int) -> go.Bar:
    return go.Bar(
        x=list(p.layers),
        y=plain(getattr(p, field)),
        name=f"written by {name}",
        meta=field,
        marker={"color": colour},
        hovertemplate=f"<b>{name}</b> of layer %{{x}}<br>%{{y:.2f}} of the class difference at "
        f"{escape(p.written_to)}, n = {n}<extra></extra>",
    )


def plot_answer_maps(maps: Sequence[TokenMap], *, titles: Titles = None) -> go.Figure:
    """One prompt and the answer to it, token by layer, along each category's direction.

    The line stands between the prompt's end and the answer.

    >>> plot_answer_maps(answer_maps).write_html("answer.html")
    """
    titles = titles_of(titles, [m.category for m in maps])
    figure = plot_tokens(maps[0], titles=titles)
    owners = [escape(titles.get(m.category, m.category)) for m in maps]
    for m in maps[1:]:
        figure.add_trace(plot_tokens(m, titles=titles).data[0])
    before = sum(p < 0 for p in maps[0].positions)
    if before < len(maps[0].positions):
        figure.add_vline(x=before - 0.5, line={"color": "#1f2328", "width": 1.5})
    layout: Any = figure.layout
    figure.update_layout(margin_t=MENU_TOP - 20, height=layout.height + MENU_TOP - 56)
    choose(figure, owners)
    return figure

"""Refusal tokens: refusal against over-refusal at step 0, and the directions that they carve."""

from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.plots.effects import error_bars
from refusal_lens.plots.palette import BENIGN, CONTROL, POOLED, QUIET, REFUSE, faded, marks
from refusal_lens.plots.panels import band, dress, plain
from refusal_lens.plots.text import escape, percent, tick
from refusal_lens.plots.titles import Titles, titles_of
from refusal_lens.prompts import LABELS
from refusal_lens.records import Estimate
from refusal_lens.refusal_tokens.carved import Carved
from refusal_lens.refusal_tokens.roc import Point, Roc

_RATE: Final[dict[str, Any]] = {
    "tickvals": [0, 0.25, 0.5, 0.75, 1],
    "tickformat": ".0%",
    "range": [-0.03, 1.03],
}
_KINDS: Final = {"text": "answers read as refusals", "token": "answers that begin with a token"}


def plot_token_roc(roc: Roc) -> go.Figure:
    """Left: harmful over benign prompts refused as the threshold falls from never to always.
    Right: both against the bias on the refusal tokens. Bars: Wilson's 95% intervals.

    >>> plot_token_roc(roc).write_html("token_roc.html")
    """
    figure = make_subplots(
        rows=1,
        cols=2,
        column_widths=[0.46, 0.54],
        horizontal_spacing=0.1,
        subplot_titles=("threshold on the token's probability", "bias on the tokens' logits"),
    )
    for kind, name in _KINDS.items():
        figure.add_trace(_over(roc.by_threshold, kind, name), row=1, col=1)
        for side, who in enumerate(("harmful", "benign")):
            figure.add_trace(_against(roc.by_bias, kind, side, who), row=1, col=2)
    figure.add_trace(_unedited(roc.unedited), row=1, col=1)
    figure.add_trace(
        go.Scatter(
            x=[0, 1],
            y=[0, 1],
            mode="lines",
            line={"color": CONTROL, "dash": "dash", "width": 1},
            name="chance",
            hoverinfo="skip",
        ),
        row=1,
        col=1,
    )
    dress(figure, 430)
    figure.update_xaxes(**_RATE, title="benign prompts refused", row=1, col=1)
    figure.update_yaxes(**_RATE)
    figure.update_yaxes(title="harmful prompts refused", row=1, col=1)
    figure.update_yaxes(title="refused", row=1, col=2)
    figure.update_xaxes(title="bias, nats (0: unedited)", row=1, col=2)
    figure.update_layout(margin={"l": 64, "r": 230, "t": 34, "b": 50}, legend_x=1.01)
    return figure


def plot_carved(carved: Carved) -> go.Figure:
    """Mean corrected cosine between the categories' directions by layer, a line for each place.

    Bands: 95% jackknife intervals over pairs. Where a direction has no noise-free length there is
    no mean.

    >>> plot_carved(carved).write_html("carved.html")
    """
    figure, layers = go.Figure(), [site.layer for site in carved.sites]
    for k, (place, mark) in enumerate(marks(carved.places).items()):
        value, low, high = (plain(column) for column in carved.mean[k].unbind(-1))
        name = escape(place)
        figure.add_trace(band(layers, low, high, mark.colour, name, 0.12))
        figure.add_trace(
            go.Scatter(
                x=layers,
                y=value,
                mode="lines+markers",
                name=name,
                legendgroup=name,
                line={"color": mark.colour, "width": 2, "dash": "dot" if "," in place else "solid"},
                marker={"symbol": mark.symbol, "size": 6},
                hovertemplate=f"<b>{name}</b>, layer %{{x}}: %{{y:.2f}}<extra></extra>",
            )
        )
    dress(figure, 400, 980)
    figure.update_xaxes(title="layer (block input)")
    figure.update_yaxes(title="mean corrected cosine", range=[-0.25, 1.05])
    figure.add_hline(y=0, line={"color": QUIET, "width": 1, "dash": "dash"})
    figure.update_layout(margin={"l": 64, "r": 190, "t": 16, "b": 50}, legend_x=1.01)
    return figure


def plot_tokens_chosen(roc: Roc, *, titles: Titles = None) -> go.Figure:
    """Share of each category's harmful prompts (rows) by their most probable refusal token.

    >>> plot_tokens_chosen(roc).write_html("tokens_chosen.html")
    """
    rows = [row.category for row in roc.rows]
    named = titles_of(titles, [*rows, *roc.tokens])
    shares = [[n / max(1, sum(row)) for n in row] for row in roc.confusion]
    texts = [[f"{v:.2f}".lstrip("0") if v else "" for v in row] for row in shares]
    figure = go.Figure(
        go.Heatmap(
            z=shares,
            text=texts,
            texttemplate="%{text}",
            colorscale="Blues",
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            colorbar={"thickness": 11, "outlinewidth": 0, "tickformat": ".0%"},
            customdata=[
                [(escape(named.get(c, c)), escape(named.get(t, t))) for t in roc.tokens]
                for c in rows
            ],
            hovertemplate="%{customdata[0]} prompts, token %{customdata[1]}: %{z:.0%}"
            "<extra></extra>",
        )
    )
    dress(figure, 150 + 26 * len(rows), 820)
    for axis, keys in (("xaxis", roc.tokens), ("yaxis", rows)):
        texts_of = [tick(named.get(c, c)) for c in keys]
        figure.update_layout({axis: {"tickvals": [*range(len(keys))], "ticktext": texts_of}})
    figure.update_xaxes(tickangle=-35, showgrid=False, title="token")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    figure.update_layout(margin={"l": 160, "r": 20, "t": 16, "b": 120})
    return figure


def _over(points: Sequence[Point], kind: str, name: str) -> go.Scatter:
    sides: list[tuple[Estimate, Estimate]] = [getattr(p, kind) for p in points]
    colour = POOLED if kind == "text" else CONTROL
    return go.Scatter(
        x=[benign.value for _, benign in sides],
        y=[harmful.value for harmful, _ in sides],
        error_x=_bars([benign for _, benign in sides], colour),
        error_y=_bars([harmful for harmful, _ in sides], colour),
        mode="lines+markers",
        name=name,
        meta=f"threshold:{kind}",
        line={"color": colour, "width": 2, "dash": "solid" if kind == "text" else "dot"},
        customdata=[
            f"threshold {p.at:g}<br>harmful refused {percent(h)}<br>benign refused {percent(b)}"
            for p, (h, b) in zip(points, sides, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _against(points: Sequence[Point], kind: str, side: int, who: str) -> go.Scatter:
    estimates: list[Estimate] = [getattr(p, kind)[side] for p in points]
    colour = (REFUSE, BENIGN)[side]
    return go.Scatter(
        x=[p.at for p in points],
        y=[e.value for e in estimates],
        error_y=_bars(estimates, colour),
        mode="lines+markers",
        name=f"{who}: {'read' if kind == 'text' else 'token'}",
        meta=f"bias:{kind}:{LABELS[side]}",
        line={"color": colour, "width": 2, "dash": "solid" if kind == "text" else "dot"},
        customdata=[
            f"bias {p.at:+g} nats<br>{who} refused {percent(e)}"
            for p, e in zip(points, estimates, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _unedited(point: Point) -> go.Scatter:
    harmful, benign = point.text
    return go.Scatter(
        x=[benign.value],
        y=[harmful.value],
        mode="markers",
        name="unedited, read",
        meta="unedited:text",
        marker={"symbol": "star", "size": 13, "color": REFUSE},
        customdata=[f"unedited<br>harmful {percent(harmful)}<br>benign {percent(benign)}"],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _bars(estimates: Sequence[Estimate], colour: str) -> dict[str, Any]:
    return error_bars(estimates, faded(colour, 0.3)) | {"thickness": 1, "width": 0}

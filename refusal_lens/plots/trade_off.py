"""Refusal against over-refusal as the strength of an added direction grows."""

from collections.abc import Mapping
from typing import Any, Final, Literal

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.evaluation import Curve, TradeOff
from refusal_lens.plots.effects import error_bars
from refusal_lens.plots.palette import faded, mark_of
from refusal_lens.plots.panels import dress
from refusal_lens.plots.text import escape, percent
from refusal_lens.plots.titles import Titles, titles_of
from refusal_lens.records import Estimate

RateName = Literal["refusal", "over_refusal"]
_SIDES: Final[dict[RateName, str]] = {
    "refusal": "refuse side refused",
    "over_refusal": "benign side refused",
}
_TICKS: Final[dict[str, Any]] = {
    "tickvals": [0, 0.25, 0.5, 0.75, 1],
    "tickformat": ".0%",
    "range": [-0.03, 1.03],
}
_CONTROL: Final = "control: "  # how the name of a control's curve begins
_FEW: Final = 4  # curves whose error bars can be told apart; of more they are a shadow


def plot_trade_off(trade_off: TradeOff, *, titles: Titles = None) -> go.Figure:
    """One curve per direction: refusal rate of harmful prompts over that of benign ones as strength
    grows, and both against strength. Controls are dashed grey; error bars are Wilson intervals.

    >>> plot_trade_off(trade_off).write_html("trade_off.html")
    """
    controls = [c.name for c in trade_off.curves if c.name.startswith(_CONTROL)]
    titles = titles_of(titles, [c.name for c in trade_off.curves if c.name not in controls])
    figure = make_subplots(
        rows=2,
        cols=2,
        specs=[[{"rowspan": 2}, {}], [None, {}]],
        column_widths=[0.52, 0.48],
        horizontal_spacing=0.085,
        vertical_spacing=0.1,
        subplot_titles=("refusal over over-refusal", *(s for s in _SIDES.values())),
    )
    shade = 0.5 if len(trade_off.curves) <= _FEW else 0.16
    for curve in trade_off.curves:
        heavy = curve.name == "pooled"
        figure.add_trace(_against(curve, titles, controls, heavy, shade), row=1, col=1)
        for row, side in enumerate(_SIDES, 1):
            by_strength = _by_strength(curve, side, titles, controls, shade)
            figure.add_trace(by_strength, row=row, col=2)
    dress(figure, 560)
    figure.update_yaxes(**_TICKS)
    figure.update_xaxes(**_TICKS, title="benign side refused", row=1, col=1)
    figure.update_yaxes(title="refuse side refused", row=1, col=1)
    figure.update_xaxes(matches="x2", row=2, col=2)
    figure.update_xaxes(title="strength, multiples of the direction's length", row=2, col=2)
    figure.update_layout(margin={"l": 64, "r": 190, "t": 34, "b": 50}, legend_x=1.015)
    return figure


def _against(
    curve: Curve, titles: Mapping[str, str], controls: list[str], named: bool, shade: float
) -> go.Scatter:
    mark, name = mark_of(curve.name, titles, controls), _name(curve, titles)
    return go.Scatter(
        x=[e.value for e in curve.over_refusal],
        y=[e.value for e in curve.refusal],
        error_x=_bars(curve.over_refusal, mark.colour, shade),
        error_y=_bars(curve.refusal, mark.colour, shade),
        mode="lines+markers+text" if named else "lines+markers",
        text=[f"{s:+g}" for s in curve.strengths] if named else None,
        textposition="bottom right",
        textfont={"size": 11},
        name=name,
        legendgroup=name,
        line={"color": mark.colour, "dash": mark.dash, "width": 2.6 if named else 1.5},
        marker={"symbol": mark.symbol, "size": 7},
        customdata=_hovers(curve, name),
        hovertemplate="%{customdata}<extra></extra>",
    )


def _by_strength(
    curve: Curve, side: RateName, titles: Mapping[str, str], controls: list[str], shade: float
) -> go.Scatter:
    mark, name = mark_of(curve.name, titles, controls), _name(curve, titles)
    estimates: tuple[Estimate, ...] = getattr(curve, side)
    return go.Scatter(
        x=list(curve.strengths),
        y=[e.value for e in estimates],
        error_y=_bars(estimates, mark.colour, shade),
        mode="lines+markers",
        name=name,
        legendgroup=name,
        showlegend=False,
        line={
            "color": mark.colour,
            "dash": mark.dash,
            "width": 2.6 if curve.name == "pooled" else 1.4,
        },
        marker={"symbol": mark.symbol, "size": 5},
        customdata=_hovers(curve, name),
        hovertemplate="%{customdata}<extra></extra>",
    )


def _name(curve: Curve, titles: Mapping[str, str]) -> str:
    name = "all, pooled" if curve.name == "pooled" else titles.get(curve.name, curve.name)
    return escape(name)


def _hovers(curve: Curve, name: str) -> list[str]:
    rows = zip(curve.strengths, curve.refusal, curve.over_refusal, strict=True)
    return [
        f"<b>{name}</b>, strength {s:+g} ({s * curve.length:+.3g} units)<br>"
        f"refuse side refused {percent(r)}<br>benign side refused {percent(o)}"
        for s, r, o in rows
    ]


def _bars(estimates: tuple[Estimate, ...], colour: str, shade: float) -> dict[str, Any]:
    return error_bars(estimates, faded(colour, shade)) | {"thickness": 1, "width": 0}

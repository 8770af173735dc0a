"""Directions compared at matched refusal: rates with intervals, and the answer in words."""

from collections.abc import Mapping
from typing import Final

import plotly.graph_objects as go

from refusal_lens.evaluation import Matched
from refusal_lens.plots.effects import error_bars
from refusal_lens.plots.palette import mark_of
from refusal_lens.plots.panels import dress
from refusal_lens.plots.text import escape, estimate_text
from refusal_lens.plots.titles import Titles, titles_of

_APART: Final = 0.006  # between the intervals of two directions at one refusal rate


def plot_matched(matched: Matched, *, titles: Titles = None) -> go.Figure:
    """Over-refusal at the same refusal rates with 95% intervals, side by side for each direction.

    Rates that a direction does not reach have no point.

    >>> plot_matched(matched).write_html("matched.html")
    """
    titles = titles_of(titles, [c.name for c in matched.curves if c.kind != "control"])
    figure = go.Figure()
    controls = [c.name for c in matched.curves if c.kind == "control"]
    middle = (len(matched.curves) - 1) / 2
    for place, curve in enumerate(matched.curves):
        mark, name = mark_of(curve.name, titles, controls), _name(curve.name, titles)
        reached = [
            (rate, e) for rate, e in zip(matched.rates, curve.over_refusal, strict=True) if e
        ]
        figure.add_trace(
            go.Scatter(
                x=[rate + _APART * (place - middle) for rate, _ in reached] or [None],
                y=[e.value for _, e in reached] or [None],
                error_y=error_bars([e for _, e in reached], mark.colour)
                | {"thickness": 1.2, "width": 0},
                mode="markers",
                name=name if reached else f"{name}: not reached",
                marker={"symbol": mark.symbol, "size": 8, "color": mark.colour},
                customdata=[
                    f"<b>{name}</b> at {rate:.0%} refusal<br>over-refusal {estimate_text(e)}"
                    for rate, e in reached
                ],
                hovertemplate="%{customdata}<extra></extra>",
            )
        )
    dress(figure, 520, 900)
    figure.update_xaxes(
        title="refuse side refused (matched)", tickformat=".0%", tickvals=list(matched.rates)
    )
    figure.update_yaxes(title="benign side refused", tickformat=".0%", rangemode="tozero")
    figure.update_layout(margin={"l": 64, "r": 230, "t": 24, "b": 50}, legend_x=1.015)
    return figure


def _name(name: str, titles: Mapping[str, str]) -> str:
    return escape(plain_name(name, titles))


def plain_name(name: str, titles: Mapping[str, str]) -> str:
    """A direction's name for readers: its category's title, or that all were pooled."""
    return "all, pooled" if name == "pooled" else titles.get(name, name)

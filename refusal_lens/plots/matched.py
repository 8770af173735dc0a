"""Directions compared at matched refusal: rates with intervals, and the answer in words."""

from collections.abc import Mapping
from typing import Final

import plotly.graph_objects as go

from refusal_lens.evaluation import Matched
from refusal_lens.plots.palette import mark_of
from refusal_lens.plots.panels import dress
from refusal_lens.plots.tables import Cell, Table
from refusal_lens.plots.text import escape, number, told, visible
from refusal_lens.plots.titles import Titles, titles_of
from refusal_lens.records import Estimate

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
        values = [e.value for _, e in reached]
        above = [(e.high or 0) - (e.value or 0) for _, e in reached]
        below = [(e.value or 0) - (e.low or 0) for _, e in reached]
        figure.add_trace(
            go.Scatter(
                x=[rate + _APART * (place - middle) for rate, _ in reached] or [None],
                y=values or [None],
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": above,
                    "arrayminus": below,
                    "color": mark.colour,
                    "thickness": 1.2,
                    "width": 0,
                },
                mode="markers",
                name=name if reached else f"{name}: not reached",
                marker={"symbol": mark.symbol, "size": 8, "color": mark.colour},
                customdata=[
                    f"<b>{name}</b> at {rate:.0%} refusal<br>over-refusal {told(e)}"
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


def matched_table(matched: Matched, *, titles: Mapping[str, str]) -> Table:
    """Over-refusal at each rate, and the mean over the rates that all directions reach."""
    common = matched.common
    area = "mean over the common range"
    if common is not None:
        area += f", {common[0]:.0%} to {common[1]:.0%}"
    head = (
        "direction",
        "refusal rates reached",
        *(f"over-refusal at {rate:.0%} refusal" for rate in matched.rates),
        area,
    )
    rows = tuple(
        (
            Cell(visible(_plain_name(c.name, titles))),
            Cell("none" if c.reach is None else f"{c.reach[0]:.0%} to {c.reach[1]:.0%}"),
            *(Cell("not reached" if e is None else _percent(e)) for e in c.over_refusal),
            Cell("not reached" if c.area is None else _percent(c.area)),
        )
        for c in matched.curves
    )
    caption = (
        f"{visible(matched.model)}; {matched.n_pairs} pairs, the same for every direction; "
        f"{matched.draws} draws of pairs, each through every curve. 95% intervals "
        f"{matched.scope}. Nothing is extrapolated."
    )
    return Table(caption, head, rows)


def knob_in_words(matched: Matched, *, titles: Mapping[str, str]) -> str:
    """The answer on one shared knob, its margin, what was compared, and the power."""
    where = f"Measured in {visible(matched.model)}."
    margin = f"±{100 * matched.margin:g} percentage points, stated beforehand"
    if matched.answer == "not reached":
        names = sorted({n for _, short in matched.short for n in short})
        who = ", ".join(visible(_plain_name(n, titles)) for n in names) or "too few directions"
        return (
            f"{where} Not reached: at none of the rates could all {len(matched.compared)} "
            f"directions be compared (short of some rate: {who}). Margin {margin}."
        )
    low = min(d.low for d in matched.differences)
    high = max(d.high for d in matched.differences)
    apart = sum(d.low > 0 or d.high < 0 for d in matched.differences)
    rates = ", ".join(f"{r:.0%}" for r in dict.fromkeys(d.rate for d in matched.differences))
    meaning = {
        "equivalent": "every difference lies within the margin",
        "different": "at least one difference lies wholly outside the margin",
        "unresolved": "these prompts can show neither that all differences lie within the margin "
        "nor that one lies outside",
    }[matched.answer]
    return (
        f"{where} {matched.answer.capitalize()}: {meaning} ({margin}). Compared were "
        f"{len(matched.compared)} directions two by two at refusal {rates}; the simultaneous 95% "
        f"band of all differences, over pairs of these categories, reaches from {number(low)} to "
        f"{number(high)}, and leaves out 0 for {apart} of {len(matched.differences)}. "
        f"Power: {matched.power}."
    )


def _name(name: str, titles: Mapping[str, str]) -> str:
    return escape(_plain_name(name, titles))


def _plain_name(name: str, titles: Mapping[str, str]) -> str:
    return "all, pooled" if name == "pooled" else titles.get(name, name)


def _percent(e: Estimate) -> str:
    low, high = e.low or 0.0, e.high or 0.0
    text = f"{100 * (e.value or 0):.0f}% [{100 * low:.0f}, {100 * high:.0f}]"
    return text if e.control is None else f"{text}; controls {100 * e.control:.0f}%"

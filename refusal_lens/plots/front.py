"""The small figures that a report opens with; each stands beside a sentence of its numbers.

They have one size and one place for rows, so that the categories of the first two (front_geometry)
stand in line.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import plotly.graph_objects as go

from refusal_lens.attribution import Component
from refusal_lens.evaluation import Effects
from refusal_lens.evaluation.effects import CONTROLS, UNEDITED, EditName
from refusal_lens.plots.effects import COLOURS, error_bars
from refusal_lens.plots.palette import BENIGN, CONTROL, QUIET, REFUSE, TEXT
from refusal_lens.plots.panels import dress
from refusal_lens.plots.text import counted, estimate_text, number, percent, value_interval
from refusal_lens.prompts import Label
from refusal_lens.records import Estimate
from refusal_lens.selection import Candidate

WIDTH: Final = 278
HEIGHT: Final = 286
_TOP: Final = 8
_BOTTOM: Final = 46
ROWS: Final = HEIGHT - _TOP - _BOTTOM  # pixels of the rows
_SHOWN: Final = 11
_CONTROL_NAMES: Final = {name: name.removeprefix("control: ") for name in CONTROLS}
NamedEstimate = tuple[str, Estimate | None, str]  # name, number, colour


def plot_front_writers(shares: Mapping[Component, Estimate]) -> go.Figure:
    """The parts with the largest mean shares, of either sign; open circles: the control model.

    >>> shares = matrix.mean_shares(control_attributions)
    >>> plot_front_writers(shares).write_html("writers.html")
    """
    top = largest(shares)
    estimates = [shares[c] for c in top]
    rows = list(range(len(top)))
    figure = go.Figure(
        go.Bar(
            x=[e.value for e in estimates],
            y=rows,
            orientation="h",
            marker={"color": [REFUSE if (e.value or 0) > 0 else BENIGN for e in estimates]},
            error_x=error_bars(estimates, TEXT),
            customdata=[
                f"<b>{c.name}</b>: {value_interval(e, 3)}, {counted(e)} pairs of all categories"
                + ("" if e.control is None else f", control {number(e.control, 3)}")
                for c, e in zip(top, estimates, strict=True)
            ],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    controls = [(i, e.control) for i, e in enumerate(estimates) if e.control is not None]
    figure.add_trace(
        circles(
            [v for _, v in controls],
            [i for i, _ in controls],
            [f"<b>{top[i].name}</b> in the control model: {number(v, 3)}" for i, v in controls],
        )
    )
    in_rows(figure, 62, [c.name for c in top])
    ends = [0.0] + [x for e in estimates for x in (e.low, e.high, e.control) if x is not None]
    pad = 0.06 * (max(ends) - min(ends) or 1)
    figure.update_xaxes(
        range=[min(ends) - pad, max(ends) + pad],
        tickformat=".0%",
        nticks=5,
        title_text="share of the class difference",
    )
    figure.add_vline(x=0, line={"color": QUIET, "width": 0.8})
    figure.update_layout(bargap=0.32)
    return figure


def largest(shares: Mapping[Component, Estimate]) -> list[Component]:
    """The parts that are shown, the largest of either sign first."""
    return sorted(shares, key=lambda c: -abs(shares[c].value or 0.0))[:_SHOWN]


def plot_front_effects(effects: Effects) -> go.Figure:
    """Refusal rates with Wilson intervals: unedited, edited, and edited along controls.

    >>> plot_front_effects(effects).write_html("effects.html")
    """
    sides: tuple[tuple[Label, EditName, str], ...] = (
        ("refuse", "ablated", "refuse side"),
        ("comply", "added", "benign side"),
    )
    rows: list[NamedEstimate] = []
    heads: list[tuple[int, str]] = []
    for side, edit, name in sides:
        heads.append((len(rows), name))
        colour = COLOURS[edit]
        rows.append(("", None, colour))
        rows.append(("unedited", effects.rate("none", UNEDITED, side), TEXT))
        rows.append((edit, effects.rate(edit, effects.main, side), colour))
        for control in CONTROLS:
            e = effects.rate(edit, control, side)
            rows += [(_CONTROL_NAMES[control], e, CONTROL)] if e is not None else []
    figure = _effect_rows(rows, heads, percent)
    figure.update_xaxes(
        range=[-0.04, 1.04], tickformat=".0%", tickvals=[0, 0.5, 1], title_text="refused"
    )
    return figure


def plot_front_scores(choice: Candidate) -> go.Figure:
    """Refusal scores of the chosen direction, where no rates were read: unedited and edited.

    >>> plot_front_scores(candidates[0]).write_html("scores.html")
    """
    rows: list[NamedEstimate] = []
    heads: list[tuple[int, str]] = []
    for name, edit, e, colour in (
        ("refuse side", "ablated", choice.ablation, COLOURS["ablated"]),
        ("benign side", "added", choice.addition, COLOURS["added"]),
    ):
        heads.append((len(rows), name))
        plain = Estimate(e.control, None, None, e.n, "unedited")
        rows += [("", None, colour), ("unedited", plain, TEXT), (edit, e, colour)]
    figure = _effect_rows(rows, heads, estimate_text)
    figure.update_xaxes(title_text="refusal score (log-odds, nats)", nticks=5)
    return figure


def _effect_rows(
    rows: Sequence[NamedEstimate],
    heads: Sequence[tuple[int, str]],
    say: Callable[[Estimate], str],
) -> go.Figure:
    shown = [(i, name, e, colour) for i, (name, e, colour) in enumerate(rows) if e is not None]
    figure = go.Figure(
        go.Scatter(
            x=[e.value for *_, e, _ in shown],
            y=[i for i, *_ in shown],
            error_x=error_bars([e for *_, e, _ in shown], QUIET) | {"width": 0},
            mode="markers",
            marker={
                "size": 9,
                "color": [colour for *_, colour in shown],
                "symbol": ["circle-open" if c == CONTROL else "circle" for *_, c in shown],
                "line": {"width": 1.6, "color": [colour for *_, colour in shown]},
            },
            customdata=[f"<b>{name}</b><br>{say(e)}" for _, name, e, _ in shown],
            hovertemplate="%{customdata}<extra></extra>",
        )
    )
    in_rows(figure, 104, [name for name, *_ in rows])
    for i, name in heads:
        figure.add_annotation(
            text=f"<b>{name}</b>",
            x=0,
            xref="paper",
            xanchor="right",
            xshift=-5,
            y=i,
            yanchor="middle",
            showarrow=False,
            font={"size": 11.5, "color": TEXT},
        )
    return figure


def circles(x: Sequence[float | None], y: Sequence[int], hovers: Sequence[str]) -> go.Scatter:
    """Open grey circles: a control."""
    return go.Scatter(
        x=list(x),
        y=list(y),
        mode="markers",
        marker={"symbol": "circle-open", "size": 8, "color": CONTROL, "line": {"width": 1.6}},
        customdata=list(hovers),
        hovertemplate="%{customdata}<extra></extra>",
    )


def in_rows(figure: go.Figure, left: int, labels: Sequence[str]) -> None:
    """The look of all four: one height, rows from the top, names on the left."""
    dress(figure, HEIGHT, WIDTH)
    figure.update_layout(
        margin={"l": left, "r": 10, "t": _TOP, "b": _BOTTOM}, showlegend=False, font_size=11.5
    )
    figure.update_yaxes(
        range=[len(labels) - 0.5, -0.5],
        tickvals=list(range(len(labels))),
        ticktext=list(labels),
        showgrid=False,
        ticks="",
        fixedrange=True,
    )
    figure.update_xaxes(
        title={"standoff": 4, "font": {"color": QUIET, "size": 11.5}}, fixedrange=True
    )

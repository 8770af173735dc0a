"""Refusal rates under ablation and addition, along each direction and its controls."""

from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.evaluation import Effects
from refusal_lens.evaluation.effects import CONTROLS, UNEDITED, EditName
from refusal_lens.plots.palette import BENIGN, CONTROL, QUIET, REFUSE, faded
from refusal_lens.plots.panels import dress
from refusal_lens.plots.text import escape, percent, visible
from refusal_lens.prompts import LABELS, Label
from refusal_lens.records import Estimate

SIDES: Final[dict[Label, str]] = {
    "refuse": "refuse side: share refused",
    "comply": "benign side: share refused",
}
EDITS: Final[tuple[EditName, ...]] = ("ablated", "added")
EDIT_NAMES: Final = {
    "behaviour": "harmful refused − benign answered",
    "within": "harmful refused − harmful answered",
    "intended": "harmful − benign, as intended",
    **{name: f"{name.removeprefix('control: ')} (control)" for name in CONTROLS},
}
# Red is towards refusal, as everywhere.
COLOURS: Final[dict[EditName, str]] = {"none": QUIET, "ablated": BENIGN, "added": REFUSE}
_SYMBOLS: Final[dict[EditName, str]] = {"none": "line-ns", "ablated": "circle", "added": "diamond"}


def direction_name(direction: str) -> str:
    """What a direction of `Effects` is called, control characters written out; to be escaped."""
    return visible(EDIT_NAMES.get(direction, direction))


def plot_effects(effects: Effects) -> go.Figure:
    """One row per direction: the rate with it ablated and with it added, on either side.

    Bars are Wilson intervals; the dashed line with its band is the unedited model. Controls are
    open.

    >>> plot_effects(effects).write_html("effects.html")
    """
    directions = effects.directions
    figure = make_subplots(
        rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.05, subplot_titles=[*SIDES.values()]
    )
    dress(figure, 120 + 34 * len(directions), 1000)
    for column, side in enumerate(LABELS, 1):
        for edit in EDITS:
            rows = [effects.rate(edit, d, side) for d in directions]
            figure.add_trace(_points(rows, edit, directions, column == 1), row=1, col=column)
        plain = effects.rate("none", UNEDITED, side)
        if plain is not None and plain.value is not None:
            _unedited(figure, plain, column)
    figure.update_xaxes(range=[-0.03, 1.03], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_yaxes(
        range=[len(directions) - 0.4, -0.6],
        tickvals=list(range(len(directions))),
        ticktext=[escape(direction_name(d)) for d in directions],
        showgrid=False,
    )
    figure.update_layout(
        margin={"l": 230, "r": 16, "t": 66, "b": 36},
        legend={"orientation": "h", "x": 0, "y": 1, "yref": "container", "yanchor": "top"},
    )
    return figure


def error_bars(estimates: Sequence[Estimate | None], colour: str) -> dict[str, Any]:
    """Plotly's asymmetric error bars from intervals; none where an estimate has no interval."""
    return {
        "type": "data",
        "symmetric": False,
        "array": [_gap(e and e.high, e and e.value) for e in estimates],
        "arrayminus": [_gap(e and e.value, e and e.low) for e in estimates],
        "color": colour,
        "thickness": 1.3,
        "width": 3,
    }


def _gap(upper: float | None, lower: float | None) -> float | None:
    return None if upper is None or lower is None else max(0.0, upper - lower)


def _points(
    rows: list[Estimate | None], edit: EditName, directions: tuple[str, ...], legend: bool
) -> go.Scatter:
    colour, shift = COLOURS[edit], 0.14 if edit == "added" else -0.14
    controls = [d in CONTROLS for d in directions]
    return go.Scatter(
        x=[None if e is None else e.value for e in rows],
        y=[i + shift for i in range(len(rows))],
        error_x=error_bars(rows, faded(colour, 0.55)),
        mode="markers",
        name=edit,
        legendgroup=edit,
        showlegend=legend,
        marker={
            "symbol": [_SYMBOLS[edit] + ("-open" if c else "") for c in controls],
            "size": 9,
            "color": [CONTROL if c else colour for c in controls],
            "line": {"width": 1.6, "color": [CONTROL if c else colour for c in controls]},
        },
        customdata=[
            f"<b>{escape(direction_name(d))}</b>, {edit}<br>"
            + ("not measured" if e is None else percent(e))
            for d, e in zip(directions, rows, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _unedited(figure: go.Figure, plain: Estimate, column: int) -> None:
    where: dict[str, Any] = {"row": 1, "col": column}
    if plain.low is not None and plain.high is not None:
        figure.add_vrect(plain.low, plain.high, fillcolor=faded(QUIET, 0.12), line_width=0, **where)
    line = {"color": QUIET, "width": 1.2, "dash": "dash"}
    figure.add_vline(x=plain.value, line=line, **where)

"""A monitor on edited variants of its model: what it flags, how soon, and what it misses."""

from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.monitor.measure import GRID, MonitorTrial, VariantRow
from refusal_lens.monitor.scoring import DETECTORS
from refusal_lens.plots.dots import Dots
from refusal_lens.plots.palette import BENIGN, CONTROL, POOLED, QUIET, REFUSE, marks
from refusal_lens.plots.panels import FONT, WIDTH, dress
from refusal_lens.plots.text import escape

_LEFT: Final = 322
_ROW: Final = 30
_EVASION: Final = "#8c6d46"


_PANELS: Final[tuple[tuple[str, tuple[Dots[VariantRow], ...]], ...]] = (
    ("harmful prompts<br>still refused", (Dots("harmful", lambda r: r.refused, QUIET),)),
    (
        "prompts flagged",
        (
            Dots("harmful prompts", lambda r: r.flagged, REFUSE),
            Dots("benign prompts", lambda r: r.benign, BENIGN, "diamond"),
        ),
    ),
    (
        "AUROC against the<br>same prompts unedited",
        (
            Dots("Mahalanobis", lambda r: r.auroc[0], POOLED),
            Dots("logistic", lambda r: r.auroc[1], POOLED, "circle-open"),
        ),
    ),
)


def plot_monitor(trial: MonitorTrial) -> go.Figure:
    """A row for each variant: what it does to refusal, what is flagged, and AUROC; 95% intervals.

    Dashed lines: the bound on false alarms, and chance. Names of controls are grey, of evasions
    brown.

    >>> plot_monitor(monitor_trial).write_html("monitor.html")
    """
    rows = trial.rows
    figure = make_subplots(
        rows=1,
        cols=len(_PANELS),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=[heading for heading, _ in _PANELS],
    )
    dress(figure, 132 + _ROW * len(rows), WIDTH)
    figure.update_annotations(font={"size": 12, "family": FONT})
    for column, (_, kinds) in enumerate(_PANELS, 1):
        spread = (len(kinds) - 1) / 2
        for i, dots in enumerate(kinds):
            trace = dots.points(rows, 0.28 * (i - spread), titles=[row.title for row in rows])
            figure.add_trace(trace.update(showlegend=len(kinds) > 1), row=1, col=column)
        line = {"color": QUIET, "width": 1, "dash": "dash"}
        at = {2: trial.alpha, 3: 0.5}.get(column)
        if at is not None:
            figure.add_vline(x=at, line=line, row=1, col=column)  # pyright: ignore[reportArgumentType]
        figure.update_xaxes(range=[-0.04, 1.04], tickvals=[0, 0.5, 1], row=1, col=column)
    figure.update_yaxes(
        range=[len(rows) - 0.4, -0.6],
        tickvals=list(range(len(rows))),
        ticktext=[_coloured(row) for row in rows],
        showgrid=True,
    )
    figure.update_layout(
        margin={"l": _LEFT, "r": 14, "t": 62, "b": 62},
        legend={"orientation": "h", "x": 0, "y": -34 / max(1, _ROW * len(rows)), "yanchor": "top"},
    )
    return figure


def plot_monitor_curves(trial: MonitorTrial) -> go.Figure:
    """Left: ROC curves of both detectors. Right: the share flagged, by answer tokens read.

    >>> plot_monitor_curves(monitor_trial).write_html("curves.html")
    """
    titles = [f"ROC, {name.replace('mahalanobis', 'Mahalanobis')}" for name in DETECTORS]
    figure = make_subplots(
        rows=1,
        cols=3,
        horizontal_spacing=0.075,
        subplot_titles=[*titles, "harmful prompts flagged by now"],
    )
    dress(figure, 420, WIDTH)
    looks = marks([row.name for row in trial.rows])
    for i, row in enumerate(trial.rows):
        grey = row.kind == "control"
        line = {
            "color": CONTROL if grey else looks[row.name].colour,
            "width": 1.2 if grey else 2,
            "dash": {"control": "dot", "evasion": "dash"}.get(row.kind, "solid"),
        }
        name = escape(row.name)
        for d in range(len(DETECTORS)):
            figure.add_trace(_curve(GRID, trial.roc[i][d], line, name), row=1, col=1 + d)
        last = _curve([float(k) for k in range(trial.tokens)], row.by_token, line, name)
        figure.add_trace(last.update(showlegend=True), row=1, col=3)
    for column in (1, 2):
        figure.update_xaxes(title="false alarms, unedited", range=[-0.01, 0.5], row=1, col=column)
        line = {"color": QUIET, "width": 1, "dash": "dash"}
        figure.add_vline(x=trial.alpha, line=line, row=1, col=column)  # pyright: ignore[reportArgumentType]
    figure.update_xaxes(title="answer tokens read", row=1, col=3)
    figure.update_yaxes(range=[-0.02, 1.02], tickvals=[0, 0.5, 1])
    figure.update_yaxes(title="flagged", row=1, col=1)
    figure.update_layout(margin={"l": 56, "r": 10, "t": 40, "b": 56})
    return figure


def _curve(
    x: Sequence[float], y: Sequence[float], line: dict[str, str | float], name: str
) -> go.Scatter:
    return go.Scatter(
        x=[round(v, 4) for v in x],
        y=[round(v, 4) for v in y],
        mode="lines",
        line=line | {"shape": "hv"},
        name=name,
        legendgroup=name,
        showlegend=False,
        hovertemplate=f"<b>{name}</b><br>%{{x}}: %{{y:.2f}}<extra></extra>",
    )


def _coloured(row: VariantRow) -> str:
    colour = {"control": CONTROL, "evasion": _EVASION}.get(row.kind)
    text = escape(row.title)
    return text if colour is None else f'<span style="color:{colour}">{text}</span>'

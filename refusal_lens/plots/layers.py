"""Refusal score by layer under ablation and under addition, with the damage beside."""

from collections.abc import Sequence
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.plots.effects import error_bars
from refusal_lens.plots.palette import BENIGN, POOLED, QUIET, REFUSE
from refusal_lens.plots.panels import dress
from refusal_lens.plots.text import estimate_text, number
from refusal_lens.records import Estimate
from refusal_lens.selection import KL_LIMIT, Candidate, Selection

_ABLATION: Final = "direction ablated: refuse-side prompts"
_ADDITION: Final = "direction added: benign prompts"
_DASHES: Final = ("solid", "dot", "dash", "dashdot", "longdash", "longdashdot")


def plot_layers(
    candidates: Sequence[Candidate], *, selection: Selection | None = None
) -> go.Figure:
    """Mean refusal score (log-odds, nats) by layer with 95% intervals, unedited controls as
    dashed lines; below, the divergence that ablation causes on benign prompts.

    The chosen layer of `selection` is marked.

    >>> plot_layers(candidates).write_html("layers.html")
    """
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[0.68, 0.32], vertical_spacing=0.07
    )
    offsets = sorted({c.offset for c in candidates}, reverse=True)
    for dash, offset in zip(_DASHES * len(offsets), offsets, strict=False):
        at_offset = sorted((c for c in candidates if c.offset == offset), key=lambda c: c.layer)
        note = "" if len(offsets) == 1 else f", offset {offset}"
        layers = [c.layer for c in at_offset]
        ablation, addition = [c.ablation for c in at_offset], [c.addition for c in at_offset]
        for name, estimates, colour in (
            (_ABLATION, ablation, BENIGN),
            (_ADDITION, addition, REFUSE),
        ):
            figure.add_trace(_curve(name + note, layers, estimates, colour, dash), row=1, col=1)
            if offset == offsets[0]:
                figure.add_trace(_unedited(name, layers, estimates, colour), row=1, col=1)
        kl = _curve(
            "KL, ablated from unedited" + note, layers, [c.kl for c in at_offset], POOLED, dash
        )
        figure.add_trace(kl, row=2, col=1)
    _mark(figure, selection)
    dress(figure, 560)
    figure.update_yaxes(title="refusal score, nats", row=1, col=1)
    figure.update_yaxes(title="KL, nats", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title={"text": "layer", "standoff": 6}, row=2, col=1)
    figure.update_layout(
        margin={"l": 70, "r": 20, "t": 96, "b": 46},
        legend={"orientation": "h", "x": 0, "y": 1.085, "yanchor": "bottom"},
    )
    return figure


def _curve(
    name: str, layers: list[int], estimates: list[Estimate], colour: str, dash: str
) -> go.Scatter:
    return go.Scatter(
        x=layers,
        y=[e.value for e in estimates],
        error_y=error_bars(estimates, colour) | {"thickness": 1.2},
        mode="lines+markers",
        name=name,
        line={"color": colour, "width": 2, "dash": dash},
        marker={"size": 6},
        customdata=[
            f"<b>{name}</b><br>layer {x}<br>{estimate_text(e)}"
            for x, e in zip(layers, estimates, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _unedited(name: str, layers: list[int], estimates: list[Estimate], colour: str) -> go.Scatter:
    prompts = name.split(": ")[1]
    return go.Scatter(
        x=layers,
        y=[e.control for e in estimates],
        mode="lines",
        name=f"unedited: {prompts}",
        line={"color": colour, "width": 1.3, "dash": "dash"},
        opacity=0.75,
        hovertemplate=f"<b>unedited: {prompts}</b><br>%{{y:.2f}}, n = {estimates[0].n}"
        "<extra></extra>",
    )


def _mark(figure: go.Figure, selection: Selection | None) -> None:
    above: dict[str, Any] = {"row": 1, "col": 1, "line": {"color": QUIET, "width": 0.7}}
    below: dict[str, Any] = {"row": 2, "col": 1, "line": {**above["line"], "dash": "dot"}}
    figure.add_hline(y=0, **above)
    figure.add_hline(y=KL_LIMIT, **below)
    if selection is None:
        return
    chosen = selection.choice
    figure.add_vline(x=chosen.layer, line={"color": POOLED, "width": 1.2, "dash": "dot"})
    figure.add_annotation(
        x=chosen.layer,
        y=1,
        yref="y domain",
        text=f"chosen: layer {chosen.layer}, offset {number(chosen.offset, 0)}",
        showarrow=False,
        yanchor="bottom",
    )

"""The control adapters: does the geometry follow topic or manner, and do two trainings agree?"""

from typing import Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.geometry.control_adapters import ControlQuestion, MatrixAgreement, Planted, What
from refusal_lens.plots.palette import BENIGN, CONTROL, POOLED, QUIET, REFUSE
from refusal_lens.plots.panels import band, dress
from refusal_lens.plots.text import estimate_text, probability

LOOK: Final[dict[ControlQuestion, tuple[str, str, str]]] = {
    "seeds": ("two trainings", POOLED, "solid"),
    "topic": ("manners moved: same topic", BENIGN, "solid"),
    "manner": ("manners moved: same manner", REFUSE, "solid"),
    "one manner": ("one manner for all", "#117733", "dash"),
    "content": ("base model", CONTROL, "dot"),
}
PANELS: Final[dict[What, str]] = {
    "directions": "directions as they are",
    "change": "what training changed",
}


def plot_planted(planted: Planted, *, layer: int | None = None) -> go.Figure:
    """Correlation of cosine matrices with the reference's by layer, with 95% bands: 1 is the same
    geometry, 0 none in common. Left: of the directions; right: of what training changed.

    >>> from refusal_lens.geometry.control_adapters import shipped_planted
    >>> plot_planted(shipped_planted()).write_html("planted.html")
    """
    figure = make_subplots(1, 2, shared_yaxes=True, subplot_titles=[*PANELS.values()])
    layers = [site.layer for site in planted.sites]
    for column, what in enumerate(PANELS, 1):
        for question, (name, colour, dash) in LOOK.items():
            at = {
                a.layer: a for a in planted.agreements if (a.question, a.what) == (question, what)
            }
            if not at:
                continue
            # Layers where a cosine is undefined stay gaps.
            rows = [at.get(k) for k in layers]
            value, low, high = (
                [None if a is None else getattr(a.correlation, k) for a in rows]
                for k in ("value", "low", "high")
            )
            figure.add_trace(band(layers, low, high, colour, question), row=1, col=column)
            line = go.Scatter(
                x=layers,
                y=value,
                mode="lines",
                name=name,
                legendgroup=question,
                showlegend=column == 1,
                line={"color": colour, "width": 2, "dash": dash},
                customdata=["" if a is None else _hover(a, name) for a in rows],
                hovertemplate="%{customdata}<extra></extra>",
            )
            figure.add_trace(line, row=1, col=column)
    dress(figure, 380)
    figure.update_yaxes(range=[-1.05, 1.05])
    figure.update_yaxes(title="correlation with the reference", row=1, col=1)
    figure.update_xaxes(title={"text": "layer", "standoff": 4})
    if layer is not None:
        figure.add_vline(x=layer, line={"color": QUIET, "width": 1, "dash": "dot"})
    legend = {"orientation": "h", "x": 0, "y": 1.12, "yanchor": "bottom"}
    figure.update_layout(margin={"l": 62, "r": 20, "t": 76, "b": 46}, legend=legend)
    return figure


def _hover(a: MatrixAgreement, name: str) -> str:
    correlation = estimate_text(a.correlation)
    return f"{name}, layer {a.layer}<br>correlation {correlation}<br>p {probability(a.p)}"

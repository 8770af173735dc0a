"""Refusal across languages: who refuses, cosines, transfer, ablation, and one threshold."""

from collections.abc import Sequence
from typing import Final

import plotly.graph_objects as go
import torch
from plotly.subplots import make_subplots

from refusal_lens.languages import (
    AblationTransfer,
    LanguageCosines,
    LanguageLayers,
    LanguageTransfer,
)
from refusal_lens.plots.dots import Dots
from refusal_lens.plots.palette import BENIGN, CONTROL, QUIET, REFUSE
from refusal_lens.plots.panels import FONT, WIDTH, dress, plain
from refusal_lens.plots.text import escape, estimate_text, interval, number
from refusal_lens.records import Estimate

_CELL: Final = 30
_PANELS: Final = (
    "directions: corrected cosine",
    "held-out prompts: AUROC",
    "refusals left under ablation",
)


def plot_languages(
    cosines: LanguageCosines,
    transfer: LanguageTransfer,
    ablation: AblationTransfer | None = None,
) -> go.Figure:
    """Three matrices at the chosen layer: directions are rows, languages of prompts columns.

    Cosines between directions; the area under the ROC curve of a direction on held-out prompts;
    the share of refused prompts still refused with a direction ablated. Empty cells are undefined.

    >>> shown = plot_languages(language_cosines, language_transfer, language_ablation)
    >>> shown.write_html("languages.html")
    """
    panels = 2 if ablation is None else 3
    figure = make_subplots(
        rows=1, cols=panels, horizontal_spacing=0.11, subplot_titles=_PANELS[:panels]
    )
    s = cosines.sites.index(transfer.site)
    figure.add_trace(_cosine_map(cosines, s), row=1, col=1)
    figure.add_trace(_area_map(transfer), row=1, col=2)
    across: list[Sequence[str]] = [cosines.languages, transfer.languages]
    rows: list[Sequence[str]] = [cosines.languages, transfer.rows]
    if ablation is not None:
        figure.add_trace(_ablation_map(ablation), row=1, col=3)
        across.append(ablation.languages)
        rows.append(ablation.rows)
    dress(figure, 150 + _CELL * max(map(len, rows)), WIDTH)
    figure.update_annotations(font={"size": 12, "family": FONT})
    for column, (names, labels) in enumerate(zip(across, rows, strict=True), 1):
        figure.update_xaxes(
            tickvals=list(range(len(names))),
            ticktext=[escape(n) for n in names],
            title_text="direction" if column == 1 else "prompts",
            title_font={"size": 12},
            showgrid=False,
            row=1,
            col=column,
        )
        figure.update_yaxes(
            tickvals=list(range(len(labels))),
            ticktext=[escape(n.replace("control: ", "").replace(" languages", "")) for n in labels],
            autorange="reversed",
            title_text="direction" if column == 1 else None,
            title_font={"size": 12},
            title_standoff=4,
            showgrid=False,
            row=1,
            col=column,
        )
    figure.update_layout(margin={"l": 60, "r": 20, "t": 52, "b": 48})
    return figure


def _map(
    z: list[list[float | None]], hovers: list[list[str]], low: float, middle: float
) -> go.Heatmap:
    texts = [["" if v is None else f"{v:.2f}".replace("0.", ".") for v in row] for row in z]
    return go.Heatmap(
        z=z,
        text=[[t.replace("-", "−") for t in row] for row in texts],
        texttemplate="%{text}",
        textfont={"size": 10},
        customdata=hovers,
        hovertemplate="%{customdata}<extra></extra>",
        colorscale="RdBu_r",
        zmin=low,
        zmax=1.0,
        zmid=middle,
        xgap=1,
        ygap=1,
        showscale=False,
    )


def _cosine_map(cosines: LanguageCosines, s: int) -> go.Heatmap:
    corrected, low, high, naive = (
        [plain(row) for row in table[s]]
        for table in (cosines.corrected, cosines.low, cosines.high, cosines.naive)
    )
    hovers = [
        [
            f"<b>{escape(a)} × {escape(b)}</b><br>"
            f"{interval(corrected[i][j], low[i][j], high[i][j])}, n = {cosines.n} pairs<br>"
            f"as the means are: {number(naive[i][j])}"
            for j, b in enumerate(cosines.languages)
        ]
        for i, a in enumerate(cosines.languages)
    ]
    return _map(corrected, hovers, -1.0, 0.0)


def _area_map(transfer: LanguageTransfer) -> go.Heatmap:
    areas = [[transfer.area(a, b) for b in transfer.languages] for a in transfer.rows]
    hovers = [
        [
            f"direction: <b>{escape(a)}</b><br>prompts: <b>{escape(b)}</b><br>"
            f"{estimate_text(areas[i][j])}<br>95% of shuffled labels under "
            f"{number(float(transfer.null_high[i, j]))}"
            for j, b in enumerate(transfer.languages)
        ]
        for i, a in enumerate(transfer.rows)
    ]
    return _map([[e.value for e in row] for row in areas], hovers, 0.0, 0.5)


def _ablation_map(ablation: AblationTransfer) -> go.Heatmap:
    hovers = [
        [
            f"ablated: <b>{escape(name)}</b><br>prompts: <b>{escape(language)}</b><br>"
            f"still refused: {estimate_text(e)}"
            for language, e in zip(ablation.languages, row, strict=True)
        ]
        for name, row in zip(ablation.rows, ablation.rates, strict=True)
    ]
    return _map([[e.value for e in row] for row in ablation.rates], hovers, 0.0, 0.5)


def plot_language_means(transfer: LanguageTransfer) -> go.Figure:
    """Per direction, the AUROC of prompts of different languages with and without their means.

    >>> plot_language_means(language_transfer).write_html("means.html")
    """
    figure = go.Figure()
    for estimates, name, colour, shift in (
        (transfer.before, "as they are", CONTROL, -0.14),
        (transfer.after, "language means taken off", REFUSE, 0.14),
    ):
        dots: Dots[Estimate] = Dots(name, lambda e: e, colour)
        figure.add_trace(dots.points(estimates, shift, titles=transfer.rows))
    dress(figure, 110 + 26 * len(transfer.rows), 620)
    line = {"color": QUIET, "width": 1, "dash": "dash"}
    figure.add_vline(x=0.5, line=line)  # pyright: ignore[reportArgumentType]
    figure.update_xaxes(range=[0.35, 1.02], title="AUROC across languages")
    figure.update_yaxes(
        tickvals=list(range(len(transfer.rows))),
        ticktext=[escape(name) for name in transfer.rows],
        autorange="reversed",
    )
    figure.update_layout(
        margin={"l": 110, "r": 20, "t": 40, "b": 46},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure


def plot_language_layers(
    layers: LanguageLayers, cosines: LanguageCosines, *, layer: int | None = None
) -> go.Figure:
    """By layer: mean AUROC on a direction's own language and on others, and the mean cosine.

    >>> plot_language_layers(language_layers, language_cosines).write_html("layers.html")
    """
    k = len(layers.languages)
    square = layers.auroc[:, :k]
    same_language = square.diagonal(dim1=1, dim2=2).mean(1)
    other_language = (square.sum((1, 2)) - square.diagonal(dim1=1, dim2=2).sum(1)) / max(
        k * (k - 1), 1
    )
    sure = cosines.measurable()
    counted = sure[:, :, None] & sure[:, None] & ~torch.eye(k, dtype=torch.bool)
    mean = cosines.corrected.where(counted, float("nan")).nanmean((1, 2))
    curves = (
        ("AUROC, own language", layers.sites, same_language, REFUSE, "solid"),
        ("AUROC, other languages", layers.sites, other_language, BENIGN, "solid"),
        ("corrected cosine, measurable languages", cosines.sites, mean, QUIET, "dash"),
    )
    figure = go.Figure(
        [
            go.Scatter(
                x=[s.layer for s in sites],
                y=plain(values),
                mode="lines+markers",
                name=name,
                line={"color": colour, "dash": dash, "width": 2},
            )
            for name, sites, values, colour, dash in curves
        ]
    )
    dress(figure, 340)
    if layer is not None:
        line = {"color": QUIET, "width": 0.8, "dash": "dot"}
        figure.add_vline(x=layer, line=line)  # pyright: ignore[reportArgumentType]
    figure.update_xaxes(title="layer")
    figure.update_yaxes(range=[-0.1, 1.05], title="mean over languages")
    figure.update_layout(
        margin={"l": 60, "r": 20, "t": 40, "b": 46},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    )
    return figure

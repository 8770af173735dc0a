"""Ways of finding directions side by side: one row each, one panel per question."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.evaluation.estimators import EstimatorComparison, EstimatorRow
from refusal_lens.geometry.transfer import Transfer
from refusal_lens.plots.dots import Dots
from refusal_lens.plots.palette import BENIGN, CONTROL, POOLED, QUIET, REFUSE
from refusal_lens.plots.panels import FONT, WIDTH, dress
from refusal_lens.plots.text import escape, number, tick, visible
from refusal_lens.plots.titles import Titles, titles_of

_ROW: Final = 27
_LEFT: Final = 214


@final
@dataclass(frozen=True)
class QuestionPanel:
    """One question: its heading, the range of its axis, what is shown, and where chance is."""

    heading: str
    low: float
    high: float
    ticks: tuple[float, ...]
    dots: tuple[Dots[EstimatorRow], ...]
    chance: float | None = None


_UNIT: Final = (0.0, 0.5, 1.0)
PANELS: Final = (
    QuestionPanel(
        "reliability",
        -0.1,
        1.1,
        _UNIT,
        (Dots("pooled direction", lambda r: r.reliability, POOLED),),
    ),
    QuestionPanel(
        "cosine to the<br>mean difference",
        -0.1,
        1.1,
        _UNIT,
        (Dots("corrected", lambda r: r.cosine, POOLED),),
    ),
    QuestionPanel(
        "held-out AUROC",
        0.3,
        1.03,
        (0.5, 0.75, 1.0),
        (
            Dots("all categories fitted", lambda r: r.separation, POOLED),
            Dots("category left out", lambda r: r.left_out_separation, POOLED, "circle-open"),
        ),
        0.5,
    ),
    QuestionPanel(
        "ablated: harmful<br>prompts refused",
        -0.04,
        1.04,
        _UNIT,
        (
            Dots("all categories fitted", lambda r: r.removed, REFUSE),
            Dots("category left out", lambda r: r.left_out_removed, REFUSE, "circle-open"),
        ),
    ),
    QuestionPanel(
        "added, equal<br>damage: refused",
        -0.04,
        1.04,
        _UNIT,
        (
            Dots("harmful", lambda r: r.damage_refusal, REFUSE),
            Dots("benign", lambda r: r.damage_over_refusal, BENIGN, "diamond"),
        ),
    ),
    QuestionPanel(
        "benign refused at<br>matched refusal",
        -0.04,
        1.04,
        _UNIT,
        (Dots("benign", lambda r: r.matched_over_refusal, BENIGN, "diamond"),),
    ),
    QuestionPanel(
        "ablated: KL of the<br>next token, nats",
        -0.1,
        1.0,
        (0.0, 1.0, 2.0),
        (Dots("benign prompts", lambda r: r.kl, QUIET, "square"),),
        0.0,
    ),
    QuestionPanel(
        "ablated: nats more<br>on ordinary text",
        -0.1,
        1.0,
        (0.0, 0.5, 1.0),
        (Dots("cross-entropy", lambda r: r.text_change, QUIET, "square"),),
        0.0,
    ),
)


def plot_estimators(comparison: EstimatorComparison) -> go.Figure:
    """One row for each way of finding a direction, one panel for each question, 95% intervals.

    Dashed lines: the unedited model, or chance. Controls are grey. A row without a dot was not
    measured, or has no such number.

    >>> plot_estimators(estimators).write_html("estimators.html")
    """
    rows = comparison.rows
    figure = make_subplots(
        rows=1,
        cols=len(PANELS),
        shared_yaxes=True,
        horizontal_spacing=0.015,
        subplot_titles=[panel.heading for panel in PANELS],
    )
    dress(figure, 118 + _ROW * len(rows), WIDTH)
    figure.update_annotations(font={"size": 11, "family": FONT})
    names = [estimator_name(row.name) for row in rows]
    for column, panel in enumerate(PANELS, 1):
        spread = (len(panel.dots) - 1) / 2
        for i, dots in enumerate(panel.dots):
            colours = [CONTROL if row.kind == "control" else dots.colour for row in rows]
            trace = dots.points(rows, 0.3 * (i - spread), titles=names, colours=colours)
            figure.add_trace(trace, row=1, col=column)
        for x in _lines(rows, panel):
            line = {"color": QUIET, "width": 1, "dash": "dash"}
            figure.add_vline(x=x, line=line, row=1, col=column)  # pyright: ignore[reportArgumentType]
        low, high = _range(rows, panel)
        figure.update_xaxes(range=[low, high], tickvals=panel.ticks, row=1, col=column)
    figure.update_yaxes(
        range=[len(rows) - 0.4, -0.6],
        tickvals=list(range(len(rows))),
        ticktext=[escape(name) for name in names],
        showgrid=True,
    )
    figure.update_layout(margin={"l": _LEFT, "r": 14, "t": 74, "b": 34}, showlegend=False)
    return figure


def estimator_name(name: str) -> str:
    """What a way of finding directions is called, to be escaped."""
    if name.startswith("control: "):
        return f"{visible(name.removeprefix('control: '))} (control)"
    return visible(name.replace("_", " "))


def plot_transfer(transfer: Transfer, *, titles: Titles = None) -> go.Figure:
    """Held-out AUROC of each category's direction (rows) on each category's prompts (columns).

    Rows "pooled" and "category left out" are directions over all categories and over all but the
    column's. Grey cells have too few prompts, or no direction.

    >>> plot_transfer(transfer).write_html("transfer.html")
    """
    titles = titles_of(titles, transfer.columns)
    area = transfer.area.tolist()
    rows = list(transfer.rows)
    if transfer.left_out is not None:
        area.insert(1, transfer.left_out_area.tolist())
        rows.insert(1, "category left out")
    texts = [["" if v != v else f"{v:.2f}".lstrip("0") for v in row] for row in area]
    figure = go.Figure(
        go.Heatmap(
            z=[[None if v != v else v for v in row] for row in area],
            text=texts,
            texttemplate="%{text}",
            customdata=_area_hovers(transfer, rows, area, titles),
            hovertemplate="%{customdata}<extra></extra>",
            colorscale="RdBu_r",
            zmin=0.0,
            zmax=1.0,
            zmid=0.5,
            xgap=1,
            ygap=1,
            colorbar={"title": {"text": "AUROC"}, "thickness": 11, "outlinewidth": 0},
        )
    )
    dress(figure, 150 + 26 * len(rows), 900)
    figure.update_xaxes(
        tickvals=list(range(len(transfer.columns))),
        ticktext=[tick(titles.get(c, c)) for c in transfer.columns],
        tickangle=-35,
        showgrid=False,
    )
    figure.update_yaxes(
        tickvals=list(range(len(rows))),
        ticktext=[tick(titles.get(c, c)) for c in rows],
        autorange="reversed",
        showgrid=False,
    )
    figure.update_layout(margin={"l": 150, "r": 20, "t": 16, "b": 120})
    return figure


def _area_hovers(
    transfer: Transfer, rows: list[str], area: list[list[float]], titles: Mapping[str, str]
) -> list[list[str]]:
    return [
        [
            f"direction: <b>{escape(titles.get(name, name))}</b><br>prompts: "
            f"<b>{escape(titles.get(c, c))}</b><br>AUROC {number(None if v != v else v)}, "
            f"n = {n[0]} + {n[1]}"
            for c, v, n in zip(transfer.columns, row, transfer.count, strict=True)
        ]
        for name, row in zip(rows, area, strict=True)
    ]


def _lines(rows: Sequence[EstimatorRow], panel: QuestionPanel) -> list[float]:
    """Chance, or what the unedited model does on the same prompts."""
    if panel.chance is not None:
        return [panel.chance]
    if not panel.heading.startswith(("ablated", "added")):
        return []
    first = [dots.read(rows[0]) for dots in panel.dots]
    return sorted({e.control for e in first if e is not None and e.control is not None})


def _range(rows: Sequence[EstimatorRow], panel: QuestionPanel) -> tuple[float, float]:
    """The panel's range, wider where a value is outside; what is off by far runs out of it."""
    values = [e.value for dots in panel.dots for row in rows if (e := dots.read(row)) is not None]
    inside = [v for v in values if v is not None]
    reach = 3 * (panel.high - panel.low)
    low = min([panel.low, *(v - 0.05 for v in inside if v > panel.low - reach)])
    high = max([panel.high, *(v + 0.05 for v in inside if v < panel.high + reach)])
    return low, high

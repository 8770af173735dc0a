"""How a model refuses under each direction: the matrix direction x manner, and its control."""

from collections.abc import Mapping, Sequence
from typing import Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.evaluation import MannerMatrix
from refusal_lens.plots.palette import BENIGN, REFUSE, TEXT
from refusal_lens.plots.panels import WIDTH, dress
from refusal_lens.plots.text import escape, tick
from refusal_lens.plots.titles import Titles, titles_of
from refusal_lens.prompts import Label

Matrices = Mapping[Label, MannerMatrix]
SIDE_NAMES: Final[dict[Label, tuple[str, str]]] = {
    "comply": ("benign prompts pushed to refuse", BENIGN),
    "refuse": ("refuse-side prompts", REFUSE),
}


def plot_manners(models: Sequence[Matrices], *, titles: Titles = None) -> go.Figure:
    """One row of panels per model, one panel per side: refusals by direction and refusal style.

    Every panel has the same rows and columns, those of the first model's clusters and of what it
    was taught; an open square marks the manner that the panel's own model was taught.

    >>> plot_manners(manners).write_html("styles.html")
    """
    titles = titles_of(titles, [d for row in models for m in row.values() for d in m.directions])
    shown = [shown_manners(m) for m in models if m]
    first = shown[0][0][1]
    names = _directions([m for row in shown for _, m in row])
    manners = _manners([m for row in shown for _, m in row], first, names)
    figure = make_subplots(
        rows=len(shown),
        cols=max(map(len, shown)),
        horizontal_spacing=0.04,
        vertical_spacing=0.9 / (1 + len(names)) if len(shown) > 1 else 0.1,
        shared_yaxes=True,
        shared_xaxes=True,
        subplot_titles=[
            f"{SIDE_NAMES[s][0]}<br>{escape(m.model)}" for row in shown for s, m in row
        ],
    )
    for row, panels in enumerate(shown, 1):
        for column, (side, m) in enumerate(panels, 1):
            figure.add_trace(_heat(side, m, names, manners, titles), row=row, col=column)
            figure.add_trace(_squares(m, names, manners), row=row, col=column)
    dress(figure, 130 + len(shown) * (70 + 26 * len(names)), WIDTH)
    # Places by number: names that are cut, or differ in an underscore only, can read alike.
    figure.update_yaxes(
        range=[len(names) - 0.5, -0.5],
        tickvals=list(range(len(names))),
        ticktext=[_row_name(first, name, titles) for name in names],
    )
    figure.update_xaxes(
        range=[-0.5, max(len(manners), 1) - 0.5],
        tickvals=list(range(len(manners))),
        ticktext=[_words(manner) for manner in manners],
        tickangle=-35,
    )
    figure.update_layout(margin={"l": 170, "r": 20, "t": 48, "b": 110}, showlegend=False)
    return figure


def shown_manners(matrices: Matrices) -> list[tuple[Label, MannerMatrix]]:
    """The matrices that are there, each with its side: should-refuse prompts first."""
    shown: list[tuple[Label, MannerMatrix]] = []
    for side in SIDE_NAMES:
        if side in matrices:
            shown.append((side, matrices[side]))
    return shown


def _directions(matrices: Sequence[MannerMatrix]) -> list[str]:
    """Directions of one cluster of the first matrix stand together, those without one last."""
    first = matrices[0]
    cluster = dict(zip(first.directions, first.clusters, strict=True))
    every = dict.fromkeys(name for m in matrices for name in m.directions)
    return sorted(every, key=lambda name: cluster.get(name) or 10**6)


def _manners(
    matrices: Sequence[MannerMatrix], first: MannerMatrix, names: Sequence[str]
) -> list[str]:
    """What the first model was taught, in the order of the directions, then the others observed."""
    taught = dict(zip(first.directions, first.taught, strict=True))
    ordered = [m for name in names if (m := taught.get(name)) is not None]
    observed = sorted({manner for m in matrices for manner in m.manners})
    return list(dict.fromkeys((*ordered, *observed)))


def _heat(
    side: Label,
    m: MannerMatrix,
    names: Sequence[str],
    manners: Sequence[str],
    titles: Mapping[str, str],
) -> go.Heatmap:
    count = {
        (d, manner): n
        for d, row in zip(m.directions, m.counts, strict=True)
        for manner, n in zip(m.manners, row, strict=True)
    }
    rows = [[count.get((d, manner), 0) for manner in manners] for d in names]
    return go.Heatmap(
        z=[[c / sum(row) if sum(row) else None for c in row] or [None] for row in rows],
        text=[[str(c) if c else "" for c in row] or ["no refusal"] for row in rows],
        texttemplate="%{text}",
        customdata=[
            [
                f"<b>{escape(titles.get(name, name))}</b>: {_words(x)}<br>"
                f"{c} of {sum(row)} refusals, {m.n_prompts} prompts"
                for x, c in zip(manners, row, strict=True)
            ]
            or ["no refusal"]
            for name, row in zip(names, rows, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
        zmin=0,
        zmax=1,
        colorscale=[[0, "#ffffff"], [1, SIDE_NAMES[side][1]]],
        showscale=False,
        xgap=1,
        ygap=1,
    )


def _squares(m: MannerMatrix, names: Sequence[str], manners: Sequence[str]) -> go.Scatter:
    """Where the model was taught to refuse."""
    of = dict(zip(m.directions, m.taught, strict=True))
    column = {manner: x for x, manner in enumerate(manners)}
    taught = [
        (column[manner], y)
        for y, name in enumerate(names)
        if (manner := of.get(name)) is not None and manner in column
    ]
    return go.Scatter(
        x=[x for x, _ in taught],
        y=[y for _, y in taught],
        mode="markers",
        marker={"symbol": "square-open", "size": 19, "color": TEXT, "line": {"width": 1.4}},
        hoverinfo="skip",
    )


def _row_name(m: MannerMatrix, name: str, titles: Mapping[str, str]) -> str:
    cluster = dict(zip(m.directions, m.clusters, strict=True)).get(name)
    title = tick(titles.get(name, name))
    return title if cluster is None else f"{title} ({cluster})"


def _words(manner: str) -> str:
    return escape(manner.replace("_", " "))

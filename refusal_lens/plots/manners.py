"""How a model refuses under each direction: the matrix direction x manner."""

from collections.abc import Mapping
from typing import Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from refusal_lens.evaluation import MannerMatrix
from refusal_lens.plots.palette import BENIGN, REFUSE
from refusal_lens.plots.panels import WIDTH, dress
from refusal_lens.plots.tables import Cell, Table
from refusal_lens.plots.text import escape, number, percent, tick, told, visible
from refusal_lens.prompts import Label

_SIDES: Final[dict[Label, tuple[str, str]]] = {
    "comply": ("benign prompts pushed to refuse", BENIGN),
    "refuse": ("refuse-side prompts", REFUSE),
}


def plot_manners(matrices: Mapping[Label, MannerMatrix], *, titles: Mapping[str, str]) -> go.Figure:
    """A panel a side: directions by cluster, manners, and in the cells shares of refusals."""
    shown = _shown(matrices)
    figure = make_subplots(
        rows=1,
        cols=len(shown),
        horizontal_spacing=0.04,
        shared_yaxes=True,
        subplot_titles=[_SIDES[side][0] for side, _ in shown],
    )
    n = 0
    for column, (side, m) in enumerate(shown, 1):
        n = max(n, len(m.directions))
        figure.add_trace(_heat(side, m, titles), row=1, col=column)
    dress(figure, 170 + 26 * n, WIDTH)
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(type="category", tickangle=-35)
    figure.update_layout(margin={"l": 170, "r": 20, "t": 34, "b": 110})
    return figure


def _shown(matrices: Mapping[Label, MannerMatrix]) -> list[tuple[Label, MannerMatrix]]:
    shown: list[tuple[Label, MannerMatrix]] = []
    for side in _SIDES:
        if side in matrices:
            shown.append((side, matrices[side]))
    return shown


def _heat(side: Label, m: MannerMatrix, titles: Mapping[str, str]) -> go.Heatmap:
    # Directions of one cluster stand together, those without a cluster last.
    order = sorted(range(len(m.directions)), key=lambda i: m.clusters[i] or 10**6)
    rows = [m.counts[i] for i in order]
    names = [_name(m, i, titles) for i in order]
    manners = [escape(x.replace("_", " ")) for x in m.manners]
    return go.Heatmap(
        x=manners or [""],
        y=names,
        z=[[c / sum(row) if sum(row) else None for c in row] or [None] for row in rows],
        text=[[str(c) if c else "" for c in row] or ["no refusal"] for row in rows],
        texttemplate="%{text}",
        customdata=[
            [
                f"<b>{name}</b>: {x}<br>{c} of {sum(row)} refusals, {m.n_prompts} prompts"
                for x, c in zip(manners, row, strict=True)
            ]
            or ["no refusal"]
            for name, row in zip(names, rows, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>",
        zmin=0,
        zmax=1,
        colorscale=[[0, "#ffffff"], [1, _SIDES[side][1]]],
        showscale=False,
        xgap=1,
        ygap=1,
    )


def _name(m: MannerMatrix, i: int, titles: Mapping[str, str]) -> str:
    name = tick(titles.get(m.directions[i], m.directions[i]))
    return name if m.clusters[i] is None else f"{name} ({m.clusters[i]})"


def manners_table(
    matrices: Mapping[Label, MannerMatrix],
    *,
    titles: Mapping[str, str],
    manner_of: Mapping[str, str],
) -> Table:
    """A row for each direction: refused prompts, and refusals in the manner that was taught."""
    shown = _shown(matrices)
    names = shown[0][1].directions
    rows = [
        (
            Cell(visible(titles.get(name, name))),
            Cell(manner_of.get(name, "–").replace("_", " ")),
            *(cell for _, m in shown for cell in (Cell(percent(m.refused[i])), _planted(m, i))),
        )
        for i, name in enumerate(names)
    ]
    head = (
        "direction added",
        "manner taught",
        *(
            text
            for side, _ in shown
            for text in (f"{_SIDES[side][0]}: refused", "refusals in the manner taught")
        ),
    )
    first = shown[0][1]
    caption = (
        f"Strength {number(first.strength, 1)} at layer {first.layer}; {first.decoding}; judge: "
        f"{first.judge}. Control of a share: the same manner under the other directions."
    )
    return Table(caption, head, tuple(rows))


def dependence_in_words(matrices: Mapping[Label, MannerMatrix]) -> str:
    """Whether the manner depends on the direction, and whether cosine clusters say how."""
    told_sides: list[str] = []
    for side, m in _shown(matrices):
        title = _SIDES[side][0]
        if m.p is None:
            told_sides.append(f"{title}: undefined, too few refusals in too few manners.")
            continue
        text = f"{title}: adjusted mutual information {told(m.dependence)}, p = {m.p:.4f}"
        if m.cluster_share is not None and m.cluster_p is not None:
            text += (
                f"; clusters of cosines hold {number(m.cluster_share.value)} of the information, "
                f"clusters dealt at random {number(m.cluster_share.control)}, "
                f"p = {m.cluster_p:.3f}"
            )
        told_sides.append(text + ".")
    return " ".join(told_sides)


def _planted(m: MannerMatrix, i: int) -> Cell:
    e = m.planted[i]
    if e is None:
        return Cell("nothing was taught")
    control = "" if e.control is None else f"; others {100 * e.control:.0f}%"
    return Cell(percent(e) + control)

"""Representational independence: cosines with one direction while another is ablated."""

from typing import Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots
from torch import Tensor

from refusal_lens.optimised import Independence
from refusal_lens.plots.panels import dress
from refusal_lens.plots.text import escape, number, tick
from refusal_lens.plots.titles import Titles, titles_of

Q: Final = 0.05
_HEADINGS: Final = ("whole change", "downstream: without what geometry alone gives")


def plot_independence(measured: Independence, *, titles: Titles = None) -> go.Figure:
    """Mean change of cosines with a direction (columns) when another one (rows) is ablated.

    Left the whole change, right the part that later layers cause; the last row is under random
    directions. Bold on the right: more than that, q < .05.

    >>> plot_independence(independence).write_html("independence.html")
    """
    named = titles_of(titles, measured.names)
    columns = [tick(named.get(name, name)) for name in measured.names]
    rows = [*columns, f"{measured.n_controls} random"]
    names = [*(escape(named.get(name, name)) for name in measured.names), rows[-1]]
    figure = make_subplots(1, 2, subplot_titles=_HEADINGS, horizontal_spacing=0.03)
    q = measured.q_downstream().tolist()
    parts = (
        (measured.change, measured.control, None),
        (measured.downstream, measured.control_downstream, q),
    )
    for column, (change, control, tested) in enumerate(parts, 1):
        trace = _matrix(change, control, (names, names[:-1]), tested)
        figure.add_trace(trace, 1, column)
    dress(figure, 190 + 24 * len(rows), 1000)
    ticks = list(range(len(columns)))
    figure.update_xaxes(tickvals=ticks, ticktext=columns, tickangle=-45, showgrid=False)
    figure.update_yaxes(autorange="reversed", showticklabels=False, showgrid=False)
    figure.update_yaxes(col=1, showticklabels=True, tickvals=list(range(len(rows))), ticktext=rows)
    scale = {"colorscale": "Blues", "cmin": 0.0, "colorbar": {"thickness": 11, "outlinewidth": 0}}
    figure.update_layout(coloraxis=scale, margin={"l": 130, "r": 20, "t": 40, "b": 120})
    return figure


def _matrix(
    change: Tensor,
    control: Tensor,
    labels: tuple[list[str], list[str]],
    q: list[list[float]] | None,
) -> go.Heatmap:
    """One panel: a row for each ablated direction, and one for the random ones.

    `labels` are escaped.
    """
    values = [*change.mean(-1).tolist(), control.mean(-1).tolist()]
    rows, columns = labels
    bold = [
        [q is not None and i < len(q) and q[i][j] < Q for j in range(len(columns))]
        for i in range(len(rows))
    ]
    texts = [
        [_cell(v, b) for v, b in zip(row, strong, strict=True)]
        for row, strong in zip(values, bold, strict=True)
    ]
    hovers = [
        [
            f"ablated: <b>{ablated}</b><br>read: <b>{read}</b><br>"
            f"change of the cosine {number(value)}, n = {change.shape[-1]} prompts"
            for read, value in zip(columns, row, strict=True)
        ]
        for ablated, row in zip(rows, values, strict=True)
    ]
    return go.Heatmap(
        z=values,
        text=texts,
        texttemplate="%{text}",
        textfont={"size": 10},
        customdata=hovers,
        hovertemplate="%{customdata}<extra></extra>",
        coloraxis="coloraxis",
        xgap=1,
        ygap=1,
    )


def _cell(value: float, strong: bool) -> str:
    text = f"{value:.3f}".lstrip("0") if value >= 0.0005 else "0"
    return f"<b>{text}</b>" if strong else text

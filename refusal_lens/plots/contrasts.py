"""What the model did against what was asked: three contrasts and their cosines."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import plotly.graph_objects as go

from refusal_lens.geometry import BehaviourContrasts
from refusal_lens.plots.matrices import Cells, Look, Sheet, plot_matrices
from refusal_lens.plots.panels import layer_names
from refusal_lens.plots.text import escape, interval, number, tick

_LOOK: Final = Look(cell=154)
_LABEL: Final = 24
_TEMPLATE: Final = (
    "<b>%{{customdata[0]}}<br>× %{{customdata[1]}}</b><br>{where}<br>corrected %{{customdata[2]}}"
    "<br>naive %{{customdata[3]}}<br>reliabilities %{{customdata[4]}}<extra></extra>"
)


def plot_contrasts(
    contrasts: BehaviourContrasts,
    *,
    layer: int | None = None,
    titles: Mapping[str, str] | None = None,
) -> go.Figure:
    """Corrected cosines between the contrasts with their 95% intervals, a matrix per layer.

    With `titles` the contrasts are categories, and intervals stand in the hover.

    >>> plot_contrasts(contrasts, layer=15).write_html("contrasts.html")
    """
    layers = [s.layer for s in contrasts.sites]
    first = layers.index(layer) if layer in layers else len(layers) // 2
    if titles is not None:
        named = replace(contrasts, names=tuple(titles.get(n, n) for n in contrasts.names))
        steps = [replace(_cells(named, s), texts=_short(named, s)) for s in range(len(layers))]
        labels = tuple(tick(name, _LABEL) for name in named.names)
        sheet = Sheet("corrected cosine, by behaviour", labels, steps)
        return plot_matrices([sheet], layer_names(contrasts.sites), first=first, look=Look(cell=58))
    steps = [_cells(contrasts, s) for s in range(len(layers))]
    sheet = Sheet("corrected cosine between contrasts", _labels(contrasts), steps)
    return plot_matrices([sheet], layer_names(contrasts.sites), first=first, look=_LOOK)


def _short(contrasts: BehaviourContrasts, s: int) -> list[list[str]]:
    """The values alone; in brackets where the interval holds both 0 and 1."""
    rows = zip(
        contrasts.corrected[s].tolist(),
        contrasts.low[s].tolist(),
        contrasts.high[s].tolist(),
        strict=True,
    )
    return [
        [
            "" if v != v else f"({number(v)})" if a <= 0 and b >= 1 else number(v)
            for v, a, b in zip(*row, strict=True)
        ]
        for row in rows
    ]


def _labels(contrasts: BehaviourContrasts) -> tuple[str, ...]:
    """A line for either side of a contrast."""
    return tuple(
        "<br>− ".join(tick(side, _LABEL) for side in name.split(" - ")) for name in contrasts.names
    )


def _cells(contrasts: BehaviourContrasts, s: int) -> Cells:
    parts = (contrasts.corrected, contrasts.low, contrasts.high, contrasts.naive)
    value, low, high, naive = (part[s].tolist() for part in parts)
    reliability = contrasts.reliability[s].tolist()
    names = [escape(name) for name in contrasts.names]
    n = range(len(names))
    hovers = [
        [
            (
                names[y],
                names[x],
                interval(value[y][x], low[y][x], high[y][x]),
                number(naive[y][x]),
                f"{number(reliability[y])} and {number(reliability[x])}",
            )
            for x in n
        ]
        for y in n
    ]
    texts = [["" if v != v else number(v) for v in row] for row in value]
    for y in n:
        for x in n:
            if x != y and value[y][x] == value[y][x]:
                ends = interval(value[y][x], low[y][x], high[y][x]).partition(" ")[2]
                texts[y][x] += f"<br>{ends}"
    where = f"{contrasts.sites[s]}, offset {contrasts.offset}"
    values = [[None if v != v else round(v, 4) for v in row] for row in value]
    return Cells(values, _TEMPLATE.format(where=where), hovers, texts=texts)

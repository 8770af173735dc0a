"""What one shared benign pool does to cosines, beside matched twins."""

from collections.abc import Mapping
from typing import Final

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from refusal_lens.geometry import SharedPool
from refusal_lens.plots.matrices import Cells, Hovers, Sheet, plot_matrices
from refusal_lens.plots.panels import plain
from refusal_lens.plots.text import escape, interval, number, tick
from refusal_lens.plots.titles import Titles, titles_of

_TEMPLATE: Final = (
    "<b>%{customdata[0]} × %{customdata[1]}</b><br>matched twins %{customdata[2]}<br>"
    "one pool %{customdata[3]}<br>shared noise would add %{customdata[4]}<br>"
    "common reference %{customdata[5]}<br>%{customdata[6]}<extra></extra>"
)


def plot_pooled_cosines(shared: SharedPool, *, titles: Titles = None) -> go.Figure:
    """Corrected cosines with matched twins, and with one benign pool for all.

    >>> plot_pooled_cosines(shared_pool).write_html("pool.html")
    """
    titles = titles_of(titles, shared.categories)
    pool = escape(titles.get(shared.pool, shared.pool))
    return _drawn(
        shared,
        {
            "corrected cosine, matched twins": shared.matched,
            f"corrected cosine, one pool<br>(the benign side of {pool})": shared.pooled,
        },
        titles,
    )


def plot_pool_effects(shared: SharedPool, *, titles: Titles = None) -> go.Figure:
    """What the pool adds to a cosine: noise that all share (taken off in the figure above), and
    the reference that all share.

    >>> plot_pool_effects(shared_pool).write_html("pool.html")
    """
    titles = titles_of(titles, shared.categories)
    parts = {
        f"shared noise<br>(gone as the pool grows; n = {shared.n_pool})": shared.shared_noise,
        "common reference<br>(one pool minus matched; stays)": shared.reference,
    }
    return _drawn(shared, parts, titles)


def _drawn(
    shared: SharedPool,
    parts: Mapping[str, Float[Tensor, "site category category"]],
    titles: Mapping[str, str],
) -> go.Figure:
    shown = [titles.get(c, c) for c in shared.categories]
    labels = tuple(tick(title) for title in shown)
    hovers = _hovers(shared, [escape(title) for title in shown])
    sheets = [
        Sheet(heading, labels, [Cells([plain(row) for row in matrix[0]], _TEMPLATE, hovers)])
        for heading, matrix in parts.items()
    ]
    return plot_matrices(sheets, ["only"])


def _hovers(shared: SharedPool, names: list[str]) -> Hovers:
    matched, pooled, low, high, noise, reference = (
        part[0].tolist()
        for part in (
            shared.matched,
            shared.pooled,
            shared.pooled_low,
            shared.pooled_high,
            shared.shared_noise,
            shared.reference,
        )
    )
    where = f"{shared.sites[0]}, offset {shared.offset}, pool n = {shared.n_pool}"
    n = range(len(names))
    return [
        [
            (
                names[y],
                names[x],
                number(matched[y][x]),
                interval(pooled[y][x], low[y][x], high[y][x]),
                number(noise[y][x], 3),
                number(reference[y][x]),
                f"n = {min(shared.n[y], shared.n[x])} prompts per side, {where}",
            )
            for x in n
        ]
        for y in n
    ]

"""A direction against itself at all layers, and the angles between subspaces."""

from collections.abc import Mapping
from typing import Final

import plotly.graph_objects as go
from jaxtyping import Float
from torch import Tensor

from refusal_lens.geometry import Structure
from refusal_lens.plots.matrices import Cells, Look, Sheet, plot_matrices
from refusal_lens.plots.panels import layer_names, plain
from refusal_lens.plots.text import escape, interval, number, tick
from refusal_lens.plots.titles import Titles, titles_of

_TEMPLATE: Final = "%{customdata[0]}<extra></extra>"
_LAYERS: Final = Look(moved="category:", cell=17)
_OFFSETS: Final = Look(moved="category:", cell=62)
_MANY: Final = 12  # as many places as this, or more, leave no room for numbers
_ANGLES: Final = Look(0.0, 90.0, None, "Blues_r", (0.0, 30.0, 60.0, 90.0))
_ROOM: Final = 34  # cells of this width hold the random angle too


def plot_across_layers(structure: Structure, *, titles: Titles = None) -> go.Figure:
    """Corrected cosines of a category's direction with itself between all layers; the slider goes
    through the categories, the range is -1 to 1.

    >>> plot_across_layers(structure).write_html("layers.html")
    """
    titles = titles_of(titles, structure.categories)
    where = f"offset {structure.offset}"
    places = tuple(layer_names(structure.sites))
    words = ("layer", where)
    return _with_itself(structure.layer_cosines, places, words, structure=structure, titles=titles)


def plot_across_offsets(structure: Structure, *, titles: Titles = None) -> go.Figure:
    """The same between the offsets of the template's last tokens, at one layer.

    >>> plot_across_offsets(structure).write_html("offsets.html")
    """
    titles = titles_of(titles, structure.categories)
    where = f"layer {structure.layer}"
    places = tuple(str(o) for o in structure.offsets)
    words = ("offset", where)
    return _with_itself(structure.offset_cosines, places, words, structure=structure, titles=titles)


def _with_itself(
    cosines: Float[Tensor, "category place place 3"],
    places: tuple[str, ...],
    words: tuple[str, str],
    *,
    structure: Structure,
    titles: Mapping[str, str],
) -> go.Figure:
    axis, where = words
    steps: list[Cells] = []
    for i, category in enumerate(structure.categories):
        value, low, high = cosines[i].unbind(-1)
        rows = list(zip(value.tolist(), low.tolist(), high.tolist(), strict=True))
        hovers = [[(interval(*ends),) for ends in zip(*row, strict=True)] for row in rows]
        name = escape(titles.get(category, category))
        template = (
            f"<b>{name}</b><br>{axis} %{{y}} with {axis} %{{x}}<br>%{{customdata[0]}}, "
            f"n = {structure.n[i]} pairs, {where}<extra></extra>"
        )
        steps.append(Cells([plain(row) for row in value], template, hovers))
    names = [tick(titles.get(c, c)) for c in structure.categories]
    heading = f"corrected cosine of the direction<br>with itself, {axis} by {axis}"
    few = len(places) < _MANY
    return plot_matrices([Sheet(heading, places, steps)], names, look=_OFFSETS if few else _LAYERS)


def plot_angles(structure: Structure, *, titles: Titles = None) -> go.Figure:
    """The smallest and the largest principal angle between the categories' subspaces, in degrees,
    with those of random subspaces of the same sizes in brackets; ranks on the diagonal.

    >>> plot_angles(structure).write_html("angles.html")
    """
    titles = titles_of(titles, structure.categories)
    labels = tuple(tick(titles.get(c, c)) for c in structure.mapped)
    pairs = (
        ("smallest", structure.least_angle, structure.random_least_angle),
        ("largest", structure.largest_angle, structure.random_largest_angle),
    )
    sheets: list[Sheet] = []
    for word, angle, random in pairs:
        degrees, drawn = ([plain(row, 1) for row in part] for part in (angle, random))
        n = range(len(labels))
        hovers = [[(_hover(structure, (y, x), degrees, drawn, titles),) for x in n] for y in n]
        texts = [[_text(structure, (y, x), degrees, drawn) for x in n] for y in n]
        cells = Cells(degrees, _TEMPLATE, hovers, texts=texts)
        sheets.append(Sheet(f"{word} principal angle,<br>degrees (random)", labels, [cells]))
    return plot_matrices(sheets, ["only"], look=_ANGLES)


def _text(
    structure: Structure,
    at: tuple[int, int],
    degrees: list[list[float | None]],
    drawn: list[list[float | None]],
) -> str:
    y, x = at
    if y == x:
        return f"rank {structure.rank[y]}"
    if degrees[y][x] is None:
        return ""
    return f"{number(degrees[y][x], 0)}<br>({number(drawn[y][x], 0)})"


def _hover(
    structure: Structure,
    at: tuple[int, int],
    degrees: list[list[float | None]],
    drawn: list[list[float | None]],
    titles: Mapping[str, str],
) -> str:
    y, x = at
    a, b = (escape(titles.get(structure.mapped[i], structure.mapped[i])) for i in at)
    ranks = f"ranks {structure.rank[y]} and {structure.rank[x]}"
    if y == x:
        n = structure.n[structure.categories.index(structure.mapped[y])]
        return f"<b>{a}</b><br>{structure.rank[y]} dimensions hold up, n = {n} pairs"
    if degrees[y][x] is None:
        return f"<b>{a} × {b}</b><br>undefined: one has no dimension that holds up ({ranks})"
    return (
        f"<b>{a} × {b}</b><br>{number(degrees[y][x], 1)}°, "
        f"random subspaces {number(drawn[y][x], 1)}°<br>{ranks}, layer {structure.layer}"
    )

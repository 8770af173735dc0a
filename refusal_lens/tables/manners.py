"""How a model refuses under each direction."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from refusal_lens.evaluation import MannerMatrix
from refusal_lens.plots.manners import SIDE_NAMES, Matrices, shown_manners
from refusal_lens.plots.text import estimate_text, number, percent, probability, visible
from refusal_lens.records import Estimate
from refusal_lens.tables.table import Cell, Table

_UNTAUGHT: Final = "nothing was taught"


_NOTHING: Final = (_UNTAUGHT, "–")


def manners_table(matrices: Matrices, *, titles: Mapping[str, str]) -> Table:
    """A row for each direction: refused prompts, and refusals in the manner that was taught."""
    shown = shown_manners(matrices)
    first = shown[0][1]
    rows = [
        (
            Cell(visible(titles.get(name, name))),
            Cell(visible(first.taught[i] or "–").replace("_", " ")),
            *(cell for _, m in shown for cell in (Cell(percent(m.refused[i])), _planted(m, i))),
        )
        for i, name in enumerate(first.directions)
    ]
    head = (
        "direction added",
        "manner taught",
        *(
            text
            for side, _ in shown
            for text in (f"{SIDE_NAMES[side][0]}: refused", "refusals in the manner taught")
        ),
    )
    caption = (
        f"{visible(first.model)}. Strength {number(first.strength, 1)} at layer {first.layer}; "
        f"{first.decoding}; judge: {visible(first.judge)}. Control of a share: the same manner "
        "under the other directions."
    )
    return _of_what_was_taught(Table(caption, head, tuple(rows)))


def dependence_table(models: Sequence[Matrices]) -> Table:
    """Whether the manner depends on the direction, follows what was taught, or cosine clusters."""
    rows = [
        (
            Cell(f"{visible(m.model)}, {SIDE_NAMES[side][0]}"),
            Cell("undefined: too few refusals in too few manners" if m.p is None else _of(m)),
            Cell(_share(m.in_taught)),
            Cell(_share(m.in_other)),
            Cell(_clusters(m)),
        )
        for matrices in models
        for side, m in shown_manners(matrices)
    ]
    head = (
        "model, prompts",
        "adjusted mutual information of direction and manner",
        "refusals in the manner that this model was taught",
        "in the manner that the other model was taught",
        "information that clusters of cosines hold",
    )
    caption = (
        "Intervals resample prompts; the n of a share counts refusals, that of the information "
        "prompts. Controls: directions permuted within prompts; the same "
        "manners dealt to the directions at random; clusters dealt at random."
    )
    return _of_what_was_taught(Table(caption, head, tuple(rows)))


def _of_what_was_taught(table: Table) -> Table:
    """The table without the columns that say in every row that nothing was taught."""
    kept = [
        k
        for k in range(len(table.head))
        if not table.rows or any(row[k].text not in _NOTHING for row in table.rows)
    ]
    head = tuple(table.head[k] for k in kept)
    return replace(table, head=head, rows=tuple(tuple(r[k] for k in kept) for r in table.rows))


def _of(m: MannerMatrix) -> str:
    p = "undefined" if m.p is None else probability(m.p)
    return f"{estimate_text(m.dependence)}, p = {p}"


def _share(e: Estimate | None) -> str:
    if e is None:
        return _UNTAUGHT
    return percent(e) + ("" if e.control is None else f"; at random {100 * e.control:.0f}%")


def _clusters(m: MannerMatrix) -> str:
    if m.cluster_share is None or m.cluster_p is None:
        return "no clusters"
    share = m.cluster_share
    return (
        f"{number(share.value)}; clusters dealt at random {number(share.control)}, "
        f"p = {probability(m.cluster_p)}"
    )


def _planted(m: MannerMatrix, i: int) -> Cell:
    e = m.planted[i]
    if e is None:
        return Cell(_UNTAUGHT)
    control = "" if e.control is None else f"; others {100 * e.control:.0f}%"
    return Cell(percent(e) + control)

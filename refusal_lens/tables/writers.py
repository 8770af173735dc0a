"""Which components serve several categories."""

from collections.abc import Mapping, Sequence
from typing import Final

from refusal_lens.attribution import ComponentMatrix
from refusal_lens.geometry import MatrixCorrelation
from refusal_lens.plots.text import estimate_text, number, visible
from refusal_lens.tables.table import Cell, Table

_LISTED: Final = 30


def serving_table(
    matrix: ComponentMatrix, correlation: MatrixCorrelation | None, *, titles: Mapping[str, str]
) -> Table:
    """Which heads and MLPs serve all categories, which several, which one; largest share first."""
    serves = matrix.serves()
    n = len(matrix.categories)
    some = [c for c in matrix.serving(1) if c.kind == "head"][:_LISTED]
    count = {k: len([c for c in matrix.serving(k, k) if c.kind == "head"]) for k in range(1, n + 1)}
    rows = tuple(
        (
            Cell(c.name),
            Cell(_whom(serves[c], matrix.categories, titles)),
            Cell(number(float(matrix.share[:, matrix.components.index(c)].mean()), 3)),
        )
        for c in some
    )
    alike = (
        "The similarity of the rows was not compared with the cosines: that takes four or more "
        "categories, whose similarities and cosines are not all alike."
        if correlation is None
        else "Similarity of the categories' rows against the cosines of their directions: "
        f"{estimate_text(correlation.correlation)}; permutation p = {number(correlation.p, 4)}."
    )
    return Table(
        "A head serves a category if the lower bound of its share is above 1% of the difference. "
        f"Heads that serve all {n}: {count[n]}; only one: {count[1]} "
        f"(not corrected for the number of heads). {alike}",
        ("head", "serves", "mean share"),
        rows,
        "words",
    )


def _whom(served: Sequence[str], every: Sequence[str], titles: Mapping[str, str]) -> str:
    if len(served) == len(every):
        return "all"
    names = ", ".join(visible(titles.get(c, c)) for c in served)
    return f"only {names}" if len(served) == 1 else f"{len(served)}: {names}"

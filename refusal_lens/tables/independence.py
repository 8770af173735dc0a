"""Representational independence, a row for each ordered pair of directions."""

from collections.abc import Mapping

from refusal_lens.optimised import Independence
from refusal_lens.plots.text import number, value_interval, visible
from refusal_lens.tables.table import Cell, Table


def independence_table(measured: Independence, titles: Mapping[str, str]) -> Table:
    """The largest part that later layers cause first."""
    q = measured.q_downstream()
    pairs = [
        (i, j) for i in range(len(measured.names)) for j in range(len(measured.names)) if i != j
    ]
    downstream = measured.downstream.mean(-1)
    pairs.sort(key=lambda pair: -float(downstream[pair]))
    rows = tuple(_row(measured, i, j, float(q[i, j]), titles) for i, j in pairs)
    n = measured.change.shape[-1]
    return Table(
        f"Change of the cosine with one direction when another is ablated, n = {n} harmful test "
        "prompts, mean over layers with its 95% interval. Downstream: without what geometry alone "
        f"gives. Control: {measured.n_controls} random directions ablated.",
        ("ablated", "read", "change", "control", "downstream", "control", "q"),
        rows,
    )


def _row(
    measured: Independence, i: int, j: int, q: float, titles: Mapping[str, str]
) -> tuple[Cell, ...]:
    ablated, read = measured.names[i], measured.names[j]
    whole = measured.of_reading(ablated, read)
    part = measured.of_reading(ablated, read, downstream=True)
    return (
        Cell(visible(titles.get(ablated, ablated))),
        Cell(visible(titles.get(read, read))),
        Cell(value_interval(whole)),
        Cell(number(whole.control)),
        Cell(value_interval(part)),
        Cell(number(part.control)),
        Cell("–" if q != q else number(q)),
    )

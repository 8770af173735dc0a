"""Refusal and over-refusal of directions at each strength."""

from refusal_lens.evaluation import Grid
from refusal_lens.plots.palette import BENIGN, REFUSE
from refusal_lens.plots.text import visible
from refusal_lens.tables.table import Cell, Table, rate_cell


def grid_table(grid: Grid) -> Table:
    """A row for each direction and strength: both rates, and how refusals were judged."""
    rows = tuple(
        (
            Cell(visible(name)),
            Cell(f"{strength:+g}"),
            rate_cell(refusal, REFUSE),
            rate_cell(over, BENIGN),
        )
        for i, name in enumerate(grid.names)
        for strength, refusal, over in zip(
            grid.strengths, grid.rates(i, 0), grid.rates(i, 1), strict=True
        )
    )
    caption = f"{visible(grid.provenance.model)}; layer {grid.layer}; {visible(grid.judged_by)}"
    return Table(caption, ("direction", "strength", "refusal", "over-refusal"), rows)

"""What was measured, how, with which n: a row from each section."""

from typing import Final

from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section, every_section
from refusal_lens.tables.table import Cell, Table


def _parts(run: Run) -> Parts:
    rows = [
        row for _, section in every_section() if section.shown(run) for row in _of(section, run)
    ]
    table = Table(
        "What was measured, on which split, with which n. The exact n stands beside each number.",
        ("figure", "split", "n", "interval (95%)", "control"),
        tuple(tuple(Cell(x) for x in row) for row in rows),
        kind="words",
    )
    return {"methods": table}


def _of(section: Section, run: Run) -> list[Method]:
    """A section's rows, which say where they rest on other directions than the study's."""
    by = run.by_mean_difference if section.by_mean_difference else ""
    return [(row[0] + by, *row[1:]) for row in section.methods(run)]


SECTION: Final = Section(
    id="methods",
    title="What was measured, with n, interval and control",
    group="method",
    place=10,
    parts=_parts,
)

"""What the words of the report mean."""

import re
from typing import Final

from refusal_lens.report.run import Run
from refusal_lens.report.section import Parts, Section
from refusal_lens.resources import data_path
from refusal_lens.tables.table import Cell, Table


def _parts(run: Run) -> Parts:
    del run
    return {"glossary": glossary_table()}


def glossary_table() -> Table:
    """The shipped glossary, a row per term; Markdown's marks are left out."""
    text = data_path("glossary", "README.md").read_text(encoding="utf-8")
    lines = [re.sub("[`*]", "", line) for line in text.splitlines() if line.startswith("| ")]
    head, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in lines)
    return Table("", tuple(head), tuple(tuple(Cell(cell) for cell in row) for row in rows))


SECTION: Final = Section(
    id="glossary",
    title="Glossary",
    group="method",
    place=25,
    parts=_parts,
)

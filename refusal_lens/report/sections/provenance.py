"""Where the numbers come from."""

from typing import Final

from refusal_lens.report.run import Run
from refusal_lens.report.section import Parts, Section
from refusal_lens.tables.provenance import offsets_table, provenance_table, question_table


def _parts(run: Run) -> Parts:
    return {
        "question": question_table(run.question),
        "provenance": provenance_table(run.results.manifest),
        "offsets": offsets_table(run.results.manifest),
    }


SECTION: Final = Section(
    id="provenance",
    title="Provenance",
    group="method",
    place=20,
    parts=_parts,
)

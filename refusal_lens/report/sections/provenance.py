"""Where the numbers come from."""

from typing import Final

from refusal_lens.plots import methods, tables
from refusal_lens.report.run import Run
from refusal_lens.report.section import Parts, Section


def _parts(run: Run) -> Parts:
    return {
        "question": tables.plain_table("The question", ("parameter", "value"), run.question),
        "provenance": methods.provenance_table(run.results.manifest),
        "offsets": methods.offsets_table(run.results.manifest),
    }


SECTION: Final = Section(
    id="provenance",
    title="Provenance",
    group="method",
    place=20,
    parts=_parts,
)

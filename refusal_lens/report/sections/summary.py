"""The numbers of a run in short."""

from typing import Final

from refusal_lens.report.run import Run
from refusal_lens.report.section import Parts, Section


def _parts(run: Run) -> Parts:
    return {}


SECTION: Final = Section(
    id="summary",
    title="Summary",
    group="model",
    place=10,
    parts=_parts,
)

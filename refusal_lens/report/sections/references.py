"""The papers that methods are taken from."""

from typing import Final

from refusal_lens.report.run import Run
from refusal_lens.report.section import Parts, Section


def _parts(run: Run) -> Parts:
    return {}


SECTION: Final = Section(
    id="references",
    title="References",
    group="method",
    place=30,
    parts=_parts,
)

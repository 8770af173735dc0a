"""Whether judges agree, and what the verdicts came to."""

from typing import Final

from refusal_lens.report.run import Run
from refusal_lens.report.section import Parts, Section
from refusal_lens.study.stages.agreement import (
    OF_ANSWERS,
    OF_BEHAVIOUR,
    OF_MANNERS,
    OF_SCORE,
    SCREENING,
)
from refusal_lens.study.stages.full_grid import SCREENING as FULL_SCREENING
from refusal_lens.study.verdicts import verdict_counts
from refusal_lens.tables.verdicts import judge_agreement_table, verdicts_table

_ANSWERS: Final = {
    "behaviour": OF_BEHAVIOUR,
    "score": OF_SCORE,
    "answers": OF_ANSWERS,
    "manners": OF_MANNERS,
    "screening": SCREENING,
    "full": FULL_SCREENING,
}


def _parts(run: Run) -> Parts:
    agreements = {name: a for name, key in _ANSWERS.items() if (a := run.get(key)) is not None}
    counts = verdict_counts(run.get)
    return {
        "agreement": judge_agreement_table(agreements) if agreements else run.why("agreement"),
        "verdict_counts": verdicts_table(counts) if counts else run.why("behaviour"),
    }


SECTION: Final = Section(
    id="agreement",
    title="Agreement between judges",
    group="model",
    place=40,
    parts=_parts,
)

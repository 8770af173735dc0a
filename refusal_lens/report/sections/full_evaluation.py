"""The evaluation by generated answers, where one was made."""

from typing import Final

from refusal_lens.plots.matched import plot_matched
from refusal_lens.report.missing import Missing
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Parts, Section
from refusal_lens.study.stages.full_grid import GRID, MATCHED
from refusal_lens.study.stages.full_rates import RATES
from refusal_lens.tables.matched import knob_in_words
from refusal_lens.tables.rates import rates_table

_NOT_GENERATED: Final = (
    "Not generated in this run: `refusal-lens evaluate RUN --full` generates and reads the answers "
    "of the whole grid instead of scoring them."
)
_FEW_VERDICTS: Final = "fewer than two pairs have a verdict under every direction at every strength"


def _parts(run: Run) -> Parts:
    parts: Parts = dict.fromkeys(("full", "full_matched", "full_rates"), "")
    if run.results.digest(GRID.stage) is None and run.results.digest(RATES.stage) is None:
        return parts | {"full": Missing(_NOT_GENERATED, f"unasked:{GRID.stage}")}
    if (shown := run.get(RATES)) is not None:
        parts["full_rates"] = rates_table(shown, titles=run.titles)
    matched = run.get(MATCHED)
    if matched is None:
        return parts | {"full": run.lacking(GRID.stage, _FEW_VERDICTS)}
    return parts | {
        "full": knob_in_words(matched, titles=run.titles),
        "full_matched": Figure(
            plot_matched(matched, titles=run.titles),
            f"By generated answers: over-refusal of {len(matched.curves)} directions and controls "
            "at equal refusal rates",
        ),
    }


SECTION: Final = Section(
    id="full-evaluation",
    title="Matched refusal by generated answers",
    group="edits",
    place=60,
    parts=_parts,
)

"""Over-refusal at matched refusal rate."""

from typing import Final

from refusal_lens.evaluation.matched import LEAST_CATEGORIES
from refusal_lens.plots.matched import plot_matched
from refusal_lens.report.methods import compared_split, n_of
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Method, Parts, Section
from refusal_lens.study.stages.trade_off import MATCHED
from refusal_lens.tables.matched import knob_in_words, matched_table

_FEW_VERDICTS: Final = "fewer than two pairs have a verdict under every direction at every strength"


def _parts(run: Run) -> Parts:
    matched = run.get(MATCHED)
    if matched is None:
        empty: Parts = {"matched": "", "matched_table": ""}
        return empty | {"knob": run.lacking("trade_off", _FEW_VERDICTS)}
    return {
        "knob": knob_in_words(matched, titles=run.titles),
        "matched": Figure(
            plot_matched(matched, titles=run.titles),
            f"Over-refusal of {len(matched.curves)} directions and controls at equal refusal rates",
        ),
        "matched_table": matched_table(matched, titles=run.titles),
    }


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Over-refusal at matched refusal rate",
            compared_split(run),
            n_of(run, "trade_off_pairs", "pairs, the same for every direction"),
            "jackknife over categories, not below a bootstrap over pairs (under "
            f"{LEAST_CATEGORIES} categories that alone); differences: bootstrap over pairs, "
            "simultaneous over directions and rates",
            "three control directions of equal length",
        ),
    )


def _knob(run: Run) -> str:
    matched = run.get(MATCHED)
    if matched is None:
        return run.why("trade_off")
    return knob_in_words(matched, titles=run.titles)


SECTION: Final = Section(
    id="matched",
    title="Over-refusal at matched refusal rate: one shared “knob”?",
    group="edits",
    place=50,
    parts=_parts,
    methods=_methods,
    findings=(Finding(130, "Over-refusal at matched refusal: one knob?", _knob, short=True),),
)

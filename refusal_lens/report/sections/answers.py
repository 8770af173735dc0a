"""Answers before and after an edit."""

from typing import Final

from refusal_lens.prompts.files import load_categories
from refusal_lens.report.methods import n_of
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.answers import ANSWERS
from refusal_lens.tables.answers import answers_table


def _parts(run: Run) -> Parts:
    answers = run.get(ANSWERS)
    if answers is None:
        return {"answers": run.why("answers")}
    return {"answers": answers_table(answers, run.titles, load_categories())}


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Answers",
            "test",
            n_of(run, "shown", "prompts per category"),
            "none: examples",
            "unedited",
        ),
    )


SECTION: Final = Section(
    id="answers",
    title="Answers before and after",
    group="edits",
    place=90,
    parts=_parts,
    methods=_methods,
)

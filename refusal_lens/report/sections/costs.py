"""What edits cost."""

from typing import Final

from refusal_lens.report.methods import n_of
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.costs import COSTS
from refusal_lens.tables.costs import cost_table


def _parts(run: Run) -> Parts:
    costs = run.get(COSTS)
    return {"costs": run.why("costs") if costs is None else cost_table(costs, titles=run.titles)}


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Costs",
            "test, benign side; a passage of a novel",
            n_of(run, "cost_prompts", "prompts"),
            "t interval; Wilson",
            "the unedited model; a random direction",
        ),
    )


SECTION: Final = Section(
    id="costs",
    title="Cost of edits",
    group="edits",
    place=80,
    parts=_parts,
    methods=_methods,
)

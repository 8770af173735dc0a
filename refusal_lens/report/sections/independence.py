"""Whether the categories' directions are written independently of each other."""

from typing import Final

from refusal_lens.plots.independence import plot_independence
from refusal_lens.report.methods import n_of
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.independence import INDEPENDENCE
from refusal_lens.tables.independence import independence_table


def _parts(run: Run) -> Parts:
    measured = run.get(INDEPENDENCE)
    if measured is None:
        return {"independence": run.why("independence"), "independence_pairs": ""}
    label = f"Change of cosines with {len(measured.names)} directions when each is ablated"
    return {
        "independence": Figure(plot_independence(measured, titles=run.titles), label),
        "independence_pairs": independence_table(measured, run.titles),
    }


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Representational independence",
            "test, harmful prompts",
            n_of(run, "independence_prompts", "prompts"),
            "t over prompts; Benjamini-Hochberg over ordered pairs",
            "random directions ablated",
        ),
    )


def _shown(run: Run) -> bool:
    return run.results.digest("independence") is not None


SECTION: Final = Section(
    id="independence",
    title="Representational independence between directions",
    group="edits",
    place=76,
    parts=_parts,
    methods=_methods,
    shown=_shown,
)

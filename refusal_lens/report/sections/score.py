"""Which score stands for a read answer, by category."""

from typing import Final

from refusal_lens.report.methods import n_of
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.score import TRUST
from refusal_lens.tables.score import trust_table


def _parts(run: Run) -> Parts:
    trust = run.get(TRUST)
    return {"trust": run.why("score") if trust is None else trust_table(trust, run.titles)}


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Validated scores",
            "val; tokens found on train",
            n_of(run, "fit_pairs", "pairs per category at most"),
            "percentile bootstrap over prompts",
            "chance, .5",
        ),
    )


SECTION: Final = Section(
    id="trust",
    title="Where scores are validated",
    group="model",
    place=30,
    parts=_parts,
    methods=_methods,
)

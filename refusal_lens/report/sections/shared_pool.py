"""What one shared benign pool does to cosines."""

from typing import Final

from refusal_lens import plots
from refusal_lens.report.methods import n_of
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.structure import SHARED_POOL


def _parts(run: Run) -> Parts:
    shared_pool = run.get(SHARED_POOL)
    if shared_pool is None:
        names = ("pooled_cosines", "pool_effects")
        return dict.fromkeys(names, run.lacking("structure", "this run has no such matrix"))
    return {
        "pooled_cosines": Figure(
            plots.plot_pooled_cosines(shared_pool, titles=run.titles),
            "Corrected cosines with matched twins, and with one benign pool",
        ),
        "pool_effects": Figure(
            plots.plot_pool_effects(shared_pool, titles=run.titles),
            "What the pool adds: shared noise, and the common reference",
        ),
    }


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Shared benign pool",
            "train, last token",
            n_of(run, "fit_pairs", "pairs per category at most"),
            "delete-one-pair jackknife (one pool)",
            "matched twins",
        ),
    )


SECTION: Final = Section(
    id="pool",
    title="Effect of a shared benign pool",
    group="directions",
    place=80,
    parts=_parts,
    methods=_methods,
    by_mean_difference=True,
)

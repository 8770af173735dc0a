"""Contrasts between what the model did and what was asked."""

from typing import Final

from refusal_lens import plots
from refusal_lens.plots.contrasts import contrasts_table
from refusal_lens.report.methods import contrasted
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.contrasts import CONTRAST_ANSWERS, CONTRASTS


def _parts(run: Run) -> Parts:
    found = run.get(CONTRASTS)
    if found is None:
        reason = "too few prompts were refused or answered on both sides in any category"
        return {"contrasts": run.lacking("contrasts", reason), "contrast_groups": ""}
    read = run.get(CONTRAST_ANSWERS)
    return {
        "contrasts": Figure(
            plots.plot_contrasts(found, layer=run.layer),
            f"Corrected cosines between {len(found.names)} contrasts, with a slider over layers",
        ),
        "contrast_groups": contrasts_table(found, read, titles=run.titles),
    }


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Behaviour against intended label",
            "train, last token",
            contrasted(run),
            "delete-one-pair jackknife",
            "the other contrasts",
        ),
    )


SECTION: Final = Section(
    id="contrasts",
    title="Behaviour against intended label",
    group="directions",
    place=40,
    parts=_parts,
    methods=_methods,
)

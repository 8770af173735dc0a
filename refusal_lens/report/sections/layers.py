"""The refusal score by layer under edits, and the choice of the layer."""

from typing import Final

from refusal_lens import plots
from refusal_lens.report.methods import n_of
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.layers import CURVE


def _parts(run: Run) -> Parts:
    curve = run.get(CURVE)
    if curve is None or not curve.candidates:
        return {"layers": run.why("layers")}
    figure = plots.plot_layers(curve.candidates, selection=run.selection)
    label = "Refusal score by layer with the direction ablated and added, and the divergence"
    return {"layers": Figure(figure, label)}


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Choice of the layer",
            "val, pooled",
            n_of(run, "selection_prompts", "prompts per side at most"),
            "t interval over prompts",
            "the unedited model",
        ),
        (
            "Refusal score by layer",
            "val, pooled",
            n_of(run, "curve_prompts", "prompts per side at most"),
            "t interval over prompts",
            "the unedited model",
        ),
    )


SECTION: Final = Section(
    id="layers",
    title="Refusal score by layer under edits",
    group="edits",
    place=20,
    parts=_parts,
    methods=_methods,
)

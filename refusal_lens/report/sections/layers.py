"""The refusal score by layer under edits, and the choice of the layer."""

from typing import Final

from refusal_lens import plots
from refusal_lens.plots.text import value_interval
from refusal_lens.report.methods import n_of
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Method, Parts, Section
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


def _chosen(run: Run) -> str:
    if run.selection is None:
        return run.why("selection")
    s = run.selection
    n = run.results.manifest.get("n_layers")
    rule = (
        "no candidate passes the rule; the one with the largest weaker effect was taken"
        if s.relaxed
        else f"{len(s.survivors)} of {len(s.candidates)} candidates pass the rule"
    )
    kl = s.choice.kl
    return (
        f"layer {s.choice.layer} of {n}, offset {s.choice.offset}: {rule}; ablated there, the "
        f"next token of benign prompts moves by KL {value_interval(kl)} nats, "
        f"n = {kl.n}"
    )


SECTION: Final = Section(
    id="layers",
    title="Refusal score by layer under edits",
    group="edits",
    place=20,
    parts=_parts,
    methods=_methods,
    findings=(Finding(30, "Layer by the rule of Arditi et al.", _chosen, short=True),),
)

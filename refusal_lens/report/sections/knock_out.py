"""What goes when the strongest writers are replaced."""

from typing import Final

from refusal_lens import plots
from refusal_lens.report.attributed import gap_of, numbered, was_attributed
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.knock_out import KNOCK_OUT


def _parts(run: Run) -> Parts:
    stages = [s for cut in ("", "_zero", "_resample") for s in numbered(run, f"knock_out{cut}")]
    curves = [
        k
        for stage in (*stages, "knock_out_pooled")
        if (k := run.get(KNOCK_OUT.of(stage))) is not None
    ]
    if not curves:
        return {"knock_outs": run.why(gap_of(run, "knock_out"))}
    figure = plots.plot_knock_outs(curves, titles=run.titles)
    label = f"Projection and refusal score as up to {curves[0].cuts.counts[-1]} writers go out"
    return {"knock_outs": Figure(figure, label)}


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        ("Knock-outs", "test", "in the hover", "t interval over prompts", "as many random parts"),
    )


SECTION: Final = Section(
    id="knock-outs",
    title="Knock-outs",
    group="parts",
    place=30,
    parts=_parts,
    methods=_methods,
    shown=was_attributed,
)

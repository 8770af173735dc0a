"""Whether the geometry of planted refusals follows topic or refusal style."""

from typing import Final

from refusal_lens import plots
from refusal_lens.embedded.registry import find_embedded
from refusal_lens.errors import InputError
from refusal_lens.geometry.control_adapters import shipped_planted
from refusal_lens.report.missing import NOT_SHOWN, Missing
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Parts, Section
from refusal_lens.tables.control_adapters import adapters_table, control_agreement_table


def _parts(run: Run) -> Parts:
    names = ("planted", "adapters", "planted_agreement")
    try:
        planted = shipped_planted()
    except InputError as error:
        return dict.fromkeys(names, Missing(str(error), "damaged:planted").within(NOT_SHOWN))
    layer = planted.sites[-1].layer if run.layer is None else run.layer
    return {
        "planted": Figure(
            plots.plot_planted(planted, layer=layer),
            "Correlation of the control adapters' cosine matrices with the reference's, by layer",
        ),
        "adapters": adapters_table(planted),
        "planted_agreement": control_agreement_table(planted, layer, titles=run.titles),
    }


def _by_construction(run: Run) -> str:
    entry = find_embedded(str(run.question.get("source")))
    if entry is None or entry.planting is None:
        return "nothing by construction: the model refuses by itself"
    if not run.planted:
        return "nothing by construction: the adapter of planted refusals is off (scale 0)"
    return f"planted: {entry.planting.planted}. Not planted: {entry.planting.not_planted}"


SECTION: Final = Section(
    id="planted",
    title="Topic or refusal style?",
    group="directions",
    place=90,
    parts=_parts,
    shown=lambda run: run.planted,
    findings=(Finding(10, "Known by construction", _by_construction),),
)

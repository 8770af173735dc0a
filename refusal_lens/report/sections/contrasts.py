"""Contrasts between what the model did and what was asked."""

from typing import Final

from refusal_lens import plots
from refusal_lens.geometry.contrasts import BOTH, WITHIN_HARMFUL
from refusal_lens.plots.text import interval
from refusal_lens.report.methods import contrasted
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Method, Parts, Section
from refusal_lens.study.stages.contrasts import CONTRAST_ANSWERS, CONTRASTS
from refusal_lens.tables.contrasts import contrasts_table


def _parts(run: Run) -> Parts:
    contrasts = run.get(CONTRASTS)
    if contrasts is None:
        reason = "too few prompts were refused or answered on both sides in any category"
        return {"contrasts": run.lacking("contrasts", reason), "contrast_groups": ""}
    read = run.get(CONTRAST_ANSWERS)
    return {
        "contrasts": Figure(
            plots.plot_contrasts(contrasts, layer=run.layer),
            f"Corrected cosines between {len(contrasts.names)} contrasts, "
            "with a slider over layers",
        ),
        "contrast_groups": contrasts_table(contrasts, read, titles=run.titles),
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


def _within(run: Run) -> str:
    contrasts = run.get(CONTRASTS)
    if contrasts is None or run.layer is None or {BOTH, WITHIN_HARMFUL} - {*contrasts.names}:
        return run.lacking("contrasts", "too few prompts in one of the groups")
    s = [site.layer for site in contrasts.sites].index(run.layer)
    a, b = contrasts.names.index(BOTH), contrasts.names.index(WITHIN_HARMFUL)
    value, low, high = (
        float(x[s, a, b]) for x in (contrasts.corrected, contrasts.low, contrasts.high)
    )
    groups = ", ".join(f"{name} {n}" for name, n in contrasts.groups.items())
    return f"{interval(value, low, high)}{run.by_mean_difference} (corrected; {groups})"


SECTION: Final = Section(
    id="contrasts",
    title="Behaviour against intended label",
    group="directions",
    place=40,
    parts=_parts,
    methods=_methods,
    by_mean_difference=True,
    findings=(
        Finding(
            120,
            "Harmful-refused − benign-answered against harmful-refused − harmful-answered",
            _within,
        ),
    ),
)

"""How the model refuses under each direction."""

from typing import Final

from refusal_lens.evaluation import MannerMatrix
from refusal_lens.plots.manners import plot_manners
from refusal_lens.plots.text import estimate_text, probability
from refusal_lens.prompts import LABELS, Label
from refusal_lens.report.methods import n_of
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Method, Parts, Section
from refusal_lens.study.stages.manners import CONTROL_MANNERS, MANNERS
from refusal_lens.tables.manners import dependence_table, manners_table


def _parts(run: Run) -> Parts:
    models: list[dict[Label, MannerMatrix]] = []
    for keys in (MANNERS, CONTROL_MANNERS):
        by_side: dict[Label, MannerMatrix] = {}
        for side in LABELS:
            if (m := run.get(keys[side])) is not None:
                by_side[side] = m
        models.append(by_side)
    of_model, control = models
    names = ("manners", "dependence", "manners_table", "manners_control")
    if not of_model:
        return {**dict.fromkeys(names, ""), "manners": run.why("manners")}
    return {
        "manners": Figure(
            plot_manners(models, titles=run.titles),
            "Manners of refusal under each direction, on benign and on refuse-side prompts",
        ),
        "dependence": dependence_table(models),
        "manners_table": manners_table(of_model, titles=run.titles),
        "manners_control": manners_table(control, titles=run.titles) if control else "",
    }


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Refusal style by direction",
            "test",
            n_of(run, "manner_pairs", "pairs"),
            "bootstrap over prompts",
            "directions permuted within prompts; for the planted model, deranged manners",
        ),
    )


def _style(run: Run) -> str:
    parts: list[str] = []
    for side in LABELS:
        m = run.get(MANNERS[side])
        if m is None:
            continue
        words = {"refuse": "harmful", "comply": "benign"}[side]
        n = sum(map(sum, m.counts))
        p = "undefined" if m.p is None else probability(m.p)
        parts.append(
            f"{words} prompts: adjusted mutual information {estimate_text(m.dependence)}, p {p}, "
            f"{n} refusals in {len(m.manners)} styles"
        )
    return "; ".join(parts) or run.why("manners")


SECTION: Final = Section(
    id="manners",
    title="Refusal style by direction",
    group="edits",
    place=70,
    parts=_parts,
    methods=_methods,
    findings=(Finding(140, "Does the refusal style follow the direction?", _style, short=True),),
)

"""What each component writes along each direction."""

from typing import Final

import torch

from refusal_lens import plots
from refusal_lens.attribution.components import WRITERS
from refusal_lens.plots.front import largest
from refusal_lens.plots.text import visible
from refusal_lens.records import Estimate
from refusal_lens.report.attributed import attributions, was_attributed
from refusal_lens.report.front import Front, FrontAnswer, not_measured, percent_of
from refusal_lens.report.methods import n_of, other_model
from refusal_lens.report.missing import Missing
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Method, Parts, Section
from refusal_lens.study.stages.attribution import CORRELATION, DECOMPOSITION, MATRIX
from refusal_lens.study.stages.attribution_control import CONTROL_DECOMPOSITION
from refusal_lens.tables.writers import serving_table

_NAMED: Final = 5  # strongest components that are named


def _parts(run: Run) -> Parts:
    if not was_attributed(run):
        command = f"refusal-lens attribute {run.results.folder.name}"
        words = f"Attribution was not asked for in this run; `{command}` measures it."
        return {"attribution_none": Missing(words, "unasked:attribution")}
    written = _written(run)
    names = ("writers", "heads", "component_matrix", "serving")
    missing: Parts = {name: run.why("attribution") for name in names if name not in written}
    return {"attribution_none": "", "written_gap": ""} | written | missing


def _written(run: Run) -> Parts:
    whole = run.get(DECOMPOSITION)
    if whole is None:
        return {}
    attributed = attributions(whole)
    control = run.get(CONTROL_DECOMPOSITION)
    controls = {} if control is None else {a.category: a for a in attributions(control)}
    shown = f"{len(attributed)} categories, at {attributed[0].target.site}"
    parts: Parts = {
        "writers": Figure(
            plots.plot_writers(attributed, controls, titles=run.titles),
            f"The parts that write most of a direction, with a menu of {shown}",
        ),
        "heads": Figure(
            plots.plot_heads(attributed, controls, titles=run.titles, names=run.names),
            f"What each head and MLP writes, layer by head, with a menu of {shown}",
        ),
    }
    if control is None:
        parts["written_gap"] = run.why("attribution_control")
    matrix = run.get(MATRIX)
    if matrix is None:
        note = run.lacking("attribution", "it takes two or more categories with a direction")
        return parts | dict.fromkeys(("component_matrix", "serving"), note)
    correlation = run.get(CORRELATION)
    parts["component_matrix"] = Figure(
        plots.plot_component_matrix(matrix, controls, titles=run.titles, names=run.names),
        f"Shares of the strongest parts in each of {len(matrix.categories)} categories",
    )
    parts["serving"] = serving_table(matrix, correlation, titles=run.titles)
    return parts


def _answer(run: Run) -> FrontAnswer:
    if run.results.digest("attribution") is None and "attribution" not in run.damaged:
        command = f"refusal-lens attribute {visible(run.results.folder.name)}"
        words = f"attribution is a command of its own, `{command}`"
        return not_measured(Missing(words, "unasked:attribution"))
    matrix = run.get(MATRIX)
    if matrix is None:
        reason = "it takes two or more categories with a direction"
        return not_measured(run.lacking_reason("attribution", reason))
    plain = run.get(CONTROL_DECOMPOSITION)
    controlled = set() if plain is None else {t.category for t in plain.targets}
    controls = (
        {}
        if plain is None
        else {c: plain.attribution(c) for c in matrix.categories if c in controlled}
    )
    shares = matrix.mean_shares(controls)
    top = largest(shares)
    figure = Figure(
        plots.plot_front_writers(shares),
        f"The {len(top)} heads and MLPs that write most, mean of {len(matrix.categories)} "
        "categories",
    )
    first = shares[top[0]]
    sentence = (
        f"Of {len(shares)} heads and MLPs, {top[0].name} writes most: "
        f"{percent_of(first)} of the difference between the sides, mean of "
        f"{len(matrix.categories)} categories"
    )
    if first.control is None:
        return figure, (
            f"{sentence} (n = {first.n} pairs).",
            run.reason("attribution_control").within("Control model: not measured: "),
        )
    above = sum(_outside(shares[c]) for c in top)
    return figure, (
        f"{sentence} (control model: {100 * first.control:.1f}%; n = {first.n} pairs).",
        f"{above} of the {len(top)} shown differ from the same part of the control model "
        "(control outside the 95% interval, not corrected for the number of parts).",
    )


def _outside(e: Estimate) -> bool:
    values = (e.low, e.high, e.control)
    return None not in values and not (e.low or 0.0) <= (e.control or 0.0) <= (e.high or 0.0)


def _methods(run: Run) -> tuple[Method, ...]:
    if not was_attributed(run):
        return ()
    return (
        (
            "Direct contributions of components",
            "train, last token",
            n_of(run, "fit_pairs", "pairs per category at most"),
            "t interval over pairs",
            other_model(run),
        ),
    )


def _writers(run: Run) -> str:
    decomposition = run.get(DECOMPOSITION)
    if decomposition is None:
        return "not measured in this run (`refusal-lens attribute`)"
    attributed = [decomposition.attribution(t.category) for t in decomposition.targets]
    shares = torch.stack([a.scores / a.total for a in attributed])
    mean = shares.mean(0)
    order = [
        i
        for i in mean.argsort(descending=True).tolist()
        if attributed[0].components[i].kind in WRITERS
    ][:_NAMED]
    names = [
        f"{attributed[0].components[i].name} {100 * float(mean[i]):.0f}% (above 0 in "
        f"{sum(bool(a.low[i] > 0) for a in attributed)} of {len(attributed)})"
        for i in order
    ]
    return (
        f"{', '.join(names)}; mean share of the distance between the two sides over "
        f"{len(attributed)} directions, 95% t intervals over pairs"
    )


SECTION: Final = Section(
    id="attribution",
    title="Direct contributions of components",
    group="parts",
    place=10,
    parts=_parts,
    methods=_methods,
    front=Front("front_writers", "Which parts write them?", 30, _answer),
    findings=(Finding(150, "Which heads and MLPs write the directions", _writers),),
)

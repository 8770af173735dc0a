"""Cosines between directions, and their reliability."""

from typing import Any, Final

from refusal_lens import plots
from refusal_lens.geometry import Geometry, mean_cosine
from refusal_lens.plots.text import number, value_interval
from refusal_lens.report.cosine_words import spread_of_cosines
from refusal_lens.report.front import (
    Front,
    FrontAnswer,
    geometry_at_layer,
    measurable_at,
    not_measured,
)
from refusal_lens.report.methods import n_of, other_model
from refusal_lens.report.missing import Missing
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Method, Parts, Section
from refusal_lens.sites import Site


def _parts(run: Run) -> Parts:
    g, layer = run.geometry, run.layer
    control = "" if run.control is not None else run.reason("control").within("")
    if g is None:
        names = ("cosines", "cosines_naive", "reliability")
        return {**dict.fromkeys(names, run.why("geometry")), "control": control}
    shared: dict[str, Any] = {"titles": run.titles, "control": run.control, "names": run.names}
    return {
        "cosines": Figure(
            plots.plot_cosines(g, layer=layer, **shared),
            f"Corrected cosines between {len(g.categories)} categories at each of {len(g.sites)} "
            "layers, with a slider over layers, and reliability beside",
        ),
        "cosines_naive": Figure(
            plots.plot_cosines(g, value="naive", layer=layer, **shared),
            "The same matrices of naive cosines",
        ),
        "reliability": Figure(
            plots.plot_reliability(g, **shared), "Reliability by layer, a panel for each category"
        ),
        "control": control,
    }


def _answer(run: Run) -> FrontAnswer:
    measured = geometry_at_layer(run)
    if isinstance(measured, Missing):
        return not_measured(measured)
    g, layer = measured
    kept = measurable_at(g, layer)
    label = f"Corrected cosines of {len(g.categories)} directions at layer {layer}"
    figure = Figure(plots.plot_front_cosines(g, layer=layer, titles=run.titles), label)
    if len(kept) < 2:
        few = f"{len(kept)} measurable direction{'' if len(kept) == 1 else 's'}"
        mean = Missing(few, "lacking:geometry").within("No mean cosine: ")
    else:
        mean = _mean(run, g, layer, kept)
    return figure, (mean, _dimension(run, layer))


def _mean(run: Run, g: Geometry, layer: int, kept: tuple[str, ...]) -> str:
    c = run.control
    other = (
        c if c is not None and Site(layer) in c.sites and set(kept) <= set(c.categories) else None
    )
    e = mean_cosine(g, layer, kept, other)
    beside = f"control model: {number(e.control)}" if other is not None else "no control model"
    return (
        f"Mean corrected cosine of the {len(kept)} measurable directions: "
        f"{value_interval(e)} "
        f"({beside}; n = {e.n} pairs)."
    )


def _dimension(run: Run, layer: int) -> str:
    structure = run.structure
    if structure is None or Site(layer) not in structure.sites:
        why = run.lacking_reason("structure", run.no_structure)
        return why.within("Effective dimension: not measured: ")
    e = structure.dimension[structure.sites.index(Site(layer))]
    return (
        f"Effective dimension{run.by_mean_difference} {value_interval(e)} of "
        f"{len(structure.categories)} "
        f"(random directions: {number(e.control)}; n = {e.n} pairs)."
    )


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            f"Cosines, reliability, length ({run.estimator})",
            "train, last token",
            n_of(run, "fit_pairs", "pairs per category at most"),
            "delete-one-pair jackknife",
            other_model(run),
        ),
    )


def _measurable(run: Run) -> str:
    g, layer = run.geometry, run.layer
    if g is None or layer is None:
        return run.why("geometry")
    s = [site.layer for site in g.sites].index(layer)
    count = int(g.measurable()[s].sum())
    r = g.reliability[s]
    return (
        f"{count} of {len(g.categories)} at layer {layer} (lower 95% bound of reliability at least "
        f"0.5; reliabilities {number(float(r.min()))} to {number(float(r.max()))}, "
        f"{min(g.n)} to {max(g.n)} pairs)"
    )


def _of_measurable(run: Run) -> str:
    g, layer = run.geometry, run.layer
    if g is None or layer is None:
        return run.why("geometry")
    s = [site.layer for site in g.sites].index(layer)
    kept = g.measurable()[s]
    return spread_of_cosines(g.corrected[s], g.low[s], g.high[s], [bool(x) for x in kept])


SECTION: Final = Section(
    id="cosines",
    title="Cosine similarity between directions",
    group="directions",
    place=10,
    parts=_parts,
    methods=_methods,
    front=Front("front_cosines", "How similar are they?", 20, _answer),
    findings=(
        Finding(70, "Measurable directions, intended labels", _measurable),
        Finding(90, "Corrected cosines, intended labels", _of_measurable),
    ),
)

"""Ways of finding directions side by side."""

from functools import reduce
from typing import Final

from refusal_lens.directions import InvariantProbe
from refusal_lens.geometry.split_halves import Agreement
from refusal_lens.geometry.transfer import Transfer
from refusal_lens.plots.estimators import estimator_name, plot_estimators, plot_transfer
from refusal_lens.report.methods import n_of
from refusal_lens.report.missing import Missing
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.estimators import compared
from refusal_lens.study.stages.estimator_comparison import COMPARISON, REFERENCE_STAGE
from refusal_lens.study.stages.estimators import (
    AGREEMENT,
    FIT,
    PROBE,
    TRANSFER,
    stage_of,
)
from refusal_lens.tables.estimators import directions_table, edits_table, fitted_table
from refusal_lens.tables.estimators_by_category import estimator_categories_table
from refusal_lens.tables.invariant_probe import invariant_environments_table, invariant_probe_table


def _parts(run: Run) -> Parts:
    comparison, transfer = run.get(COMPARISON), run.get(TRANSFER.of(REFERENCE_STAGE))
    names = (
        *("estimators", "estimators_directions", "estimators_edits", "transfer"),
        *("estimators_gaps", "estimators_categories", "estimators_fitted"),
        *("estimators_invariant", "estimators_environments"),
    )
    if comparison is None:
        missing: Parts = {name: "" for name in names}
        missing["estimators"] = run.why("estimator_comparison")
        return missing
    label = f"{len(comparison.rows)} ways of finding a direction, a panel for each question"
    gaps, probe, fits = _gaps(run), _probe(run), _fits(run)
    parts: Parts = {
        "estimators": Figure(plot_estimators(comparison), label),
        "estimators_directions": directions_table(comparison),
        "estimators_edits": edits_table(comparison),
        "estimators_categories": estimator_categories_table(fits, run.titles) if fits else "",
        "estimators_fitted": fitted_table(comparison),
        "estimators_invariant": "" if probe is None else invariant_probe_table(probe),
        "estimators_environments": "" if probe is None else invariant_environments_table(probe),
        "transfer": "",
        "estimators_gaps": reduce(Missing.beside, gaps).within("Not measured here: ")
        if gaps
        else "",
    }
    if transfer is not None:
        parts["transfer"] = Figure(
            plot_transfer(transfer, titles=run.titles),
            "Held-out AUROC of each category's direction on each category's prompts",
        )
    return parts


def _fits(run: Run) -> dict[str, tuple[Agreement | None, Transfer]]:
    """Agreement of halves and transfer of each way that was measured."""
    fits: dict[str, tuple[Agreement | None, Transfer]] = {}
    for stage in map(stage_of, compared()):
        fit, transfer = run.get(FIT.of(stage)), run.get(TRANSFER.of(stage))
        if fit is not None and transfer is not None:
            fits[fit.name] = run.get(AGREEMENT.of(stage)), transfer
    return fits


def _probe(run: Run) -> InvariantProbe | None:
    """The four invariant probes, which the stage of each of them keeps whole."""
    probes = (run.get(PROBE.of(stage_of(one))) for one in compared())
    return next((probe for probe in probes if probe is not None), None)


def _gaps(run: Run) -> list[Missing]:
    """The ways that could not be measured in this run, each with the reason."""
    return [
        run.reason(stage_of(one)).within(f"{estimator_name(one.name)} (", ")")
        for one in compared()
        if run.results.gap(stage_of(one))
    ]


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Estimators side by side",
            "fitted on train, measured on test",
            n_of(run, "estimator_pairs", "pairs at most"),
            "Wilson; jackknife over groups of pairs; bootstrap over prompts",
            "random, shuffled labels, within-class, in rates 8 draws each, else the first; the "
            "unedited model",
        ),
    )


def _shown(run: Run) -> bool:
    return run.results.digest("estimator_comparison") is not None


SECTION: Final = Section(
    id="estimators",
    title="Ways of finding a direction, side by side",
    group="edits",
    place=75,
    parts=_parts,
    methods=_methods,
    shown=_shown,
)

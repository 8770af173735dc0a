"""The report's figures of cosines: as they are, by behaviour, beside the control, in frames."""

from typing import Any

from refusal_lens import plots
from refusal_lens.directions import DirectionSet
from refusal_lens.evaluation import Answers
from refusal_lens.geometry import BehaviourContrasts, Geometry, WithinTests, change_over_layers
from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.plots.behaviour import within_table
from refusal_lens.plots.contrasts import contrasts_table
from refusal_lens.plots.curves import meeting_table
from refusal_lens.plots.separability import separability_table
from refusal_lens.report.part import Figure, Part
from refusal_lens.report.run import Run


def geometry_parts(run: Run) -> dict[str, Part]:
    """Figures, tables and notes, by name."""
    return {
        **_cosines(run),
        **_by_behaviour(run),
        **_lengths(run),
        **_verdicts(run),
        **_against_control(run),
        **_frames(run),
        **_contrasts(run),
    }


def _cosines(run: Run) -> dict[str, Part]:
    g, layer = run.geometry, run.layer
    if g is None:
        names = ("cosines", "cosines_naive", "reliability", "curves", "meetings")
        return dict.fromkeys(names, run.why("geometry"))
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
        "curves": Figure(
            plots.plot_curves(g, titles=run.titles, layer=layer),
            "Corrected cosine of one category with each other by layer, with a menu of categories",
        ),
        "meetings": _meetings(run, g),
    }


def _meetings(run: Run, g: Geometry) -> Part:
    """Where categories part and meet: from a quarter of the depth to the chosen layer, and on."""
    layers = [s.layer for s in g.sites]
    first, last = layers[max(1, len(layers) // 4)], layers[-1]
    middle = layers[len(layers) // 2] if run.layer is None else run.layer
    if not first < middle < last:
        return f"Not shown: no two stretches between layers {first}, {middle} and {last}."
    changes = {
        (a, b): (
            change_over_layers(g, a, b, first, middle),
            change_over_layers(g, a, b, middle, last),
        )
        for i, a in enumerate(g.categories)
        for b in g.categories[i + 1 :]
    }
    table = meeting_table(changes, (first, middle, last), titles=run.titles)
    return table if table.rows else f"No change with an interval without 0. {table.caption}"


def _by_behaviour(run: Run) -> dict[str, Part]:
    """Cosines by what the model did: of refused against answered prompts, else of whole pairs."""
    if (found := run.behaviour_geometry) is not None:
        return {
            "behaviour_cosines": Figure(
                plots.plot_contrasts(found, layer=run.layer, titles=run.titles),
                f"Corrected cosines by what the model did, {len(found.names)} categories",
            )
        }
    b = run.get("geometry", "behaviour", Geometry)
    if b is None:
        reason = (
            f"fewer than two categories have {LEAST_PAIRS} harmful prompts that this model refused "
            f"and {LEAST_PAIRS} benign ones that it answered"
        )
        return {"behaviour_cosines": run.lacking("geometry", reason)}
    return {
        "behaviour_cosines": Figure(
            plots.plot_cosines(b, titles=run.titles, layer=run.layer, names=run.names),
            f"Corrected cosines by what the model did, {len(b.categories)} categories",
        )
    }


def _lengths(run: Run) -> dict[str, Part]:
    shared: dict[str, Any] = {"titles": run.titles, "names": run.names}
    found: dict[str, Part] = {
        "lengths": run.why("geometry"),
        "separation": run.why("directions"),
        "control": ""
        if run.control is not None
        else run.why("control").removeprefix("Not shown: "),
    }
    if run.geometry is not None:
        found["lengths"] = Figure(
            plots.plot_lengths(run.geometry, control=run.control, **shared),
            "Noise-free length of each direction by layer",
        )
    if run.directions is not None:
        control = run.get("control", "directions", DirectionSet)
        found["separation"] = Figure(
            plots.plot_separation(run.directions, control=control, **shared),
            "Mean coordinate of either side on its category's direction, by layer",
        )
    return found


def _verdicts(run: Run) -> dict[str, Part]:
    held = run.get("contrasts", "within", WithinTests)
    within: Part = run.why("contrasts") if held is None else within_table(held, run.titles)
    if run.tests is None:
        why: Part = run.why("structure")
        return {"separability": why, "verdicts": why, "within": within}
    g, control, comparison = run.geometry, run.control, run.comparison
    shares = None
    if g is not None and control is not None and comparison is not None:
        shares = (g, control, comparison)
    return {
        "within": within,
        "verdicts": separability_table(
            run.tests, run.verdicts, shares, titles=run.titles, layer=run.layer
        ),
        "separability": Figure(
            plots.plot_separability(run.tests, run.verdicts, titles=run.titles),
            f"Sign-flip statistic of {len(run.tests.categories)} categories at each layer, with a "
            "slider over offsets; q and verdict beside",
        ),
    }


def _against_control(run: Run) -> dict[str, Part]:
    g, control, comparison = run.geometry, run.control, run.comparison
    other = "the control model has other layers, so that no layer can be set beside its own"
    found: dict[str, Part] = dict.fromkeys(("shares", "difference"), run.lacking("control", other))
    if g is not None and control is not None and comparison is not None:
        shared: dict[str, Any] = {"titles": run.titles, "names": run.names}
        found["shares"] = Figure(
            plots.plot_shares(g, control, comparison, run.verdicts, **shared),
            "Share by layer in the model and in its control, and their difference",
        )
        found["difference"] = Figure(
            plots.plot_difference(comparison, g, control, layer=run.layer, **shared),
            "Corrected cosines of the model minus those of its control, with a slider over layers",
        )
    return found


def _frames(run: Run) -> dict[str, Part]:
    """Cosines after something was done to the pair differences."""
    asked = {
        "change": ("control", "the control's stream has another width or depth than the model's"),
        "removed": ("geometry", "this run has no such matrix"),
        "whitened": (
            "geometry",
            "whitening needs more prompts than the stream has dimensions "
            f"({run.results.manifest.get('d_model', 'd_model')}); give more pairs (--full)",
        ),
    }
    found: dict[str, Part] = {}
    for name, (stage, reason) in asked.items():
        g = run.get(stage, name, Geometry)
        found[name] = run.lacking(stage, reason)
        if g is not None:
            found[name] = Figure(
                plots.plot_cosines(g, titles=run.titles, layer=run.layer, names=run.names),
                f"Corrected cosines of the pair differences {g.frame}, with a slider over layers",
            )
    return found


def _contrasts(run: Run) -> dict[str, Part]:
    found = run.get("contrasts", "contrasts", BehaviourContrasts)
    if found is None:
        reason = "too few prompts were refused or answered on both sides in any category"
        return {"contrasts": run.lacking("contrasts", reason), "contrast_groups": ""}
    read = run.get("contrasts", "behaviour", Answers)
    return {
        "contrasts": Figure(
            plots.plot_contrasts(found, layer=run.layer),
            f"Corrected cosines between {len(found.names)} contrasts, with a slider over layers",
        ),
        "contrast_groups": contrasts_table(found, read, titles=run.titles),
    }

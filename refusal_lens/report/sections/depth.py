"""At which depth refusal is decodable, steerable and written."""

from typing import Final

from refusal_lens import plots
from refusal_lens.report.attributed import finest, series, was_attributed
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.depth import PROFILE
from refusal_lens.tables.depth import promoted_table


def _parts(run: Run) -> Parts:
    stage = finest(run, "depth")
    profiles = series(run, PROFILE.of(stage))
    if not profiles:
        return dict.fromkeys(("depth", "promoted"), run.why(stage))
    return {
        "depth": Figure(
            plots.plot_depth(profiles, titles=run.titles),
            f"Probe, logit lens, steering and writing by layer; a menu of {len(profiles)} "
            "categories",
        ),
        "promoted": promoted_table(profiles, titles=run.titles),
    }


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        ("Probe by depth", "test, another category", "in the hover", "Wilson", "shuffled labels"),
    )


SECTION: Final = Section(
    id="depth",
    title="By layer: probe accuracy, steering effect, logit lens, direct contribution",
    group="parts",
    place=50,
    parts=_parts,
    methods=_methods,
    shown=was_attributed,
)

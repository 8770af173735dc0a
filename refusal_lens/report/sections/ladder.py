"""How many directions must be ablated before refusal is gone."""

from typing import Final

from refusal_lens.defence import SETS, LadderReading
from refusal_lens.plots.ladder import plot_ladder
from refusal_lens.report.methods import n_of
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.ladder import READING, stage_name
from refusal_lens.tables.ladder import damage_table, ladder_table


def _readings(run: Run) -> dict[str, LadderReading]:
    each = {name: run.get(READING.of(stage_name(name))) for name in SETS}
    return {name: reading for name, reading in each.items() if reading is not None}


def _parts(run: Run) -> Parts:
    readings = _readings(run)
    parts: Parts = {"ladder": "", "ladder_damage": ""}
    parts |= {f"ladder_{name}": "" for name in SETS}
    if not readings:
        return parts | {"ladder": run.why(_measured(run)[0])}
    label = f"Refusal with up to {max(r.available for r in readings.values())} directions ablated"
    parts["ladder"] = Figure(plot_ladder(readings), label)
    parts["ladder_damage"] = damage_table(next(iter(readings.values())))
    return parts | {f"ladder_{name}": ladder_table(r) for name, r in readings.items()}


def _measured(run: Run) -> list[str]:
    """The stages that were run, also where they left a gap."""
    names = [stage_name(name) for name in SETS]
    return [name for name in names if run.results.digest(name) is not None]


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Refusal with 1 to k directions ablated",
            "fitted on train, measured on test",
            n_of(run, "ladder_pairs", "pairs at most"),
            "Wilson; bootstrap over pairs where matched",
            "unedited; random spans of the same dimension",
        ),
    )


def _shown(run: Run) -> bool:
    return bool(_measured(run))


SECTION: Final = Section(
    id="ladder",
    title="How many directions hold refusal",
    group="edits",
    place=78,
    parts=_parts,
    methods=_methods,
    shown=_shown,
)

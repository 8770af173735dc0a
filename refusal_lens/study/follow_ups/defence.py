"""Ladders of ablated directions in the folder of a finished study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from refusal_lens.defence.deflation import DEFLATION, SETS
from refusal_lens.errors import InputError
from refusal_lens.placement import Placement
from refusal_lens.study.one_writer import one_writer
from refusal_lens.study.order import stages_of
from refusal_lens.study.results import Results
from refusal_lens.study.run import Watcher, begin, check_finished, run_stages, study_of

DEFAULT: Final = (DEFLATION,)


@one_writer
def run_defence(
    folder: Path | str,
    watcher: Watcher,
    placement: Placement = Placement(),
    *,
    directions: Sequence[str] = DEFAULT,
) -> Results:
    """Measure what is missing of a run's ladders and return its results.

    `directions` names the sets that are ablated, of `defence.SETS`. Stops at any moment lose at
    most the ladder in flight.

    Raises:
        InputError: no run, one whose study has not finished, or an unknown set.
    """
    if unknown := [name for name in directions if name not in SETS]:
        raise InputError(f"directions {unknown} are unknown; use some of {list(SETS)}")
    study = study_of(folder)
    bench = begin(study, folder, placement)
    every = stages_of("defence", bench.prompts.categories)
    stages = [s for s in every if s.name.removeprefix(f"{s.family}_") in directions]
    check_finished(bench, stages)
    return run_stages(bench, stages, watcher)

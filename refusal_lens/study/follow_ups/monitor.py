"""A monitor of suppressed refusal, in the folder of a finished study."""

from pathlib import Path

from refusal_lens.placement import Placement
from refusal_lens.study.one_writer import one_writer
from refusal_lens.study.order import stages_of
from refusal_lens.study.results import Results
from refusal_lens.study.run import Watcher, begin, check_finished, run_stages, study_of


@one_writer
def run_monitor(
    folder: Path | str, watcher: Watcher, placement: Placement = Placement()
) -> Results:
    """Fit, calibrate and try what is missing of a run's monitor; return its results.

    Stops at any moment lose at most the stage in flight.

    Raises:
        InputError: no run, or one whose study has not finished.
    """
    study = study_of(folder)
    bench = begin(study, folder, placement)
    stages = stages_of("monitor", bench.prompts.categories)
    check_finished(bench, stages)
    return run_stages(bench, stages, watcher)

"""A full evaluation in the folder of a finished study: answers generated and judged."""

from pathlib import Path

from refusal_lens.judges import Judge, try_judge
from refusal_lens.judges.coherence import sense_checked
from refusal_lens.placement import Placement
from refusal_lens.study.follow_ups.readers import reader_by_default, reader_of
from refusal_lens.study.one_writer import one_writer
from refusal_lens.study.order import stages_of
from refusal_lens.study.results import Results
from refusal_lens.study.run import Watcher, begin, check_finished, run_stages, study_of
from refusal_lens.study.stages.full_rates import RATES


@one_writer
def run_full_evaluation(
    folder: Path | str,
    watcher: Watcher,
    placement: Placement = Placement(),
    *,
    judge: Judge | None = None,
) -> Results:
    """Generate and judge what is missing of a run's full evaluation and return its results.

    `judge` reads, by default the study's own; what another one has read is read anew only by one
    that is given. Stops at any moment lose at most the stage in flight.

    Raises:
        InputError: no run, one whose study has not finished, a judge that can't be asked (it is
            tried before anything is generated), or none where another than the study's has read the
            run's full evaluation.
    """
    study = study_of(folder)
    if judge is None:
        judge = reader_by_default(study.make_judge(placement), study.judge, folder, RATES)
    try_judge(judge)
    bench = begin(study, folder, placement)
    bench.judge = judge
    stages = stages_of("full evaluation", bench.prompts.categories)
    check_finished(bench, stages)
    if reader_of(bench.results, RATES) != sense_checked(judge).name:
        for stage in stages:
            bench.results.drop(stage.name)
    return run_stages(bench, stages, watcher)

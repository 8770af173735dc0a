"""The evaluation by generated answers, in the folder of a finished study."""

from pathlib import Path

from refusal_lens.errors import InputError
from refusal_lens.evaluation import SideBySide
from refusal_lens.judges import Judge, try_judge
from refusal_lens.judges.sense import sense_checked
from refusal_lens.placement import Placement
from refusal_lens.study.full_evaluation import GRID, RATES, full_stages
from refusal_lens.study.question import Study
from refusal_lens.study.results import Results
from refusal_lens.study.run import Watcher, begin, check_finished, run_stages


def run_full_evaluation(
    folder: Path | str, judge: Judge | None, watcher: Watcher, placement: Placement = Placement()
) -> Results:
    """Generate and judge what is missing of a run's full evaluation and return its results.

    `judge` None is the study's own. Stops at any moment lose at most the stage in flight. What
    another judge has read is read anew.

    Raises:
        InputError: no run, one whose study has not finished, or a judge that can't be asked (it is
            tried before anything is generated).
    """
    study = Study.of(Results.open(folder).manifest.get("question"))
    judge = study.make_judge(placement) if judge is None else judge
    try_judge(judge)
    bench, stages = begin(study, folder, placement), full_stages(judge)
    check_finished(bench, stages)
    if not _read_by(bench.results, judge):
        bench.results.drop(RATES)
        bench.results.drop(GRID)
    return run_stages(bench, stages, watcher)


def _read_by(results: Results, judge: Judge) -> bool:
    """Whether the run's full evaluation is there and this judge has read it."""
    if not results.has(RATES, "evaluation"):
        return False
    try:
        held = results.get(RATES, "evaluation", SideBySide)
    except InputError:  # damaged
        return False
    return held.conditions[0].judge == sense_checked(judge).name

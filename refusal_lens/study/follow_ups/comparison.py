"""Ways of finding directions side by side, in the folder of a finished study."""

from collections.abc import Sequence
from pathlib import Path

from refusal_lens.placement import Placement
from refusal_lens.study.estimators import chosen, compared
from refusal_lens.study.one_writer import one_writer
from refusal_lens.study.order import stages_of
from refusal_lens.study.results import Results
from refusal_lens.study.run import Watcher, begin, check_finished, run_stages, stale, study_of
from refusal_lens.study.stages.estimator_comparison import COMPARISON
from refusal_lens.study.stages.estimators import FIT, stage_of


@one_writer
def run_comparison(
    folder: Path | str,
    watcher: Watcher,
    placement: Placement = Placement(),
    *,
    estimators: Sequence[str] | None = None,
) -> Results:
    """Fit and measure what is missing of a run's comparison of estimators; return its results.

    By default all but the slow ones; those that the run holds already stay in the table. Stops at
    any moment lose at most the estimator in flight.

    Raises:
        InputError: no run, one whose study has not finished, or an unknown estimator.
    """
    asked = [stage_of(one) for one in chosen(estimators)]
    study = study_of(folder)
    bench = begin(study, folder, placement)
    results, every = bench.results, stages_of("estimators", bench.prompts.categories)
    fitted = {s.name: s for s in every if s.family}
    kept = [name for name in fitted if name in asked or results.has(FIT.of(name))]
    stages = [s for s in every if s.name in kept or not s.family]
    check_finished(bench, stages)
    missing = [s.name for s in stale(bench, stages) if s.family]
    shown = results.find(COMPARISON)
    listed = set() if shown is None else {row.name for row in shown.rows}
    if missing or listed != {one.name for one in compared() if stage_of(one) in kept}:
        results.drop("estimator_comparison")
    return run_stages(bench, stages, watcher)

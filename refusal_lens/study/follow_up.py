"""What follows in the folder of a finished study: attribution, and answers generated and judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from refusal_lens.attribution import Attribution, HeadSources, decompose_prompt, head_sources
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.judges import Judge, try_judge
from refusal_lens.judges.coherence import sense_checked
from refusal_lens.placement import Placement
from refusal_lens.prompts.files import load_prompts
from refusal_lens.study.estimators import chosen, compared
from refusal_lens.study.fitted import category_set, pooled_set
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.order import asked_stages, every_stage, stages_of
from refusal_lens.study.question import Study
from refusal_lens.study.results import Results
from refusal_lens.study.run import Watcher, begin, check_finished, run_stages, stale
from refusal_lens.study.stage import Bench
from refusal_lens.study.stages.estimator_comparison import COMPARISON
from refusal_lens.study.stages.estimators import FIT, stage_of
from refusal_lens.study.stages.full_rates import RATES


@final
@dataclass(frozen=True, eq=False)
class Explained:
    """One prompt's projection, part by part, and the tokens that its heads read."""

    attribution: Attribution
    sources: HeadSources


def run_attribution(
    folder: Path | str,
    watcher: Watcher,
    placement: Placement = Placement(),
    *,
    category: str | None = None,
    full: bool = False,
) -> Results:
    """Run what is missing of a run's attribution and return its results.

    Stops at any moment lose at most the stage in flight. `category` is the one that is knocked
    out and whose prompt is shown, by default the first whose score can be trusted; `full` measures
    the whole maps.

    Raises:
        InputError: no run, one whose study has not finished, or an unknown category.
    """
    bench = _bench(folder, category, placement)
    stages = asked_stages(bench, category, full=full)
    check_finished(bench, stages)
    return run_stages(bench, stages, watcher)


def explain_prompt(
    folder: Path | str,
    prompt: str,
    placement: Placement = Placement(),
    *,
    category: str | None = None,
) -> Explained:
    """Take one prompt apart along a category's direction, the pooled one without a category.

    Raises:
        InputError: as `run_attribution`; a prompt that is too long for the model.
    """
    bench = _bench(folder, category, placement)
    layered = {s.name: s for s in every_stage(())}
    check_finished(bench, [layered[name] for name in ("directions", "geometry", "selection")])
    direction = _direction(bench, category)
    attribution = decompose_prompt(bench.model, prompt, direction)
    return Explained(attribution, head_sources(bench.model, prompt, direction))


def _bench(folder: Path | str, category: str | None, placement: Placement) -> Bench:
    study = Study.of(Results.open(folder).manifest.get("question"))
    if category is not None:  # before the model is loaded, which takes long
        categories = study.categories or load_prompts(study.prompts).categories
        if category not in categories:
            raise InputError(f"category {category!r} is not in this run; it has {list(categories)}")
    return begin(study, folder, placement)


def _direction(bench: Bench, category: str | None) -> Direction:
    directions = pooled_set(bench.results) if category is None else category_set(bench.results)
    return directions.at(category or directions.categories[0], chosen_layer(bench.results))


def run_full_evaluation(
    folder: Path | str,
    watcher: Watcher,
    placement: Placement = Placement(),
    *,
    judge: Judge | None = None,
) -> Results:
    """Generate and judge what is missing of a run's full evaluation and return its results.

    `judge` reads, by default the study's own; what another one has read is read anew. Stops at
    any moment lose at most the stage in flight.

    Raises:
        InputError: no run, one whose study has not finished, or a judge that can't be asked (it is
            tried before anything is generated).
    """
    study = Study.of(Results.open(folder).manifest.get("question"))
    judge = study.make_judge(placement) if judge is None else judge
    try_judge(judge)
    bench = begin(study, folder, placement)
    bench.judge = judge
    stages = stages_of("full evaluation", bench.prompts.categories)
    check_finished(bench, stages)
    if not _read_by(bench.results, judge):
        for stage in stages:
            bench.results.drop(stage.name)
    return run_stages(bench, stages, watcher)


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
    bench = _bench(folder, None, placement)
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


def _read_by(results: Results, judge: Judge) -> bool:
    """Whether the run's full evaluation is there and this judge has read it."""
    try:
        shown = results.find(RATES)
    except InputError:  # damaged
        return False
    return shown is not None and shown.judge_name == sense_checked(judge).name

"""Attribution in the folder of a finished study."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from refusal_lens.attribution import Attribution, HeadSources, decompose_prompt, head_sources
from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.placement import Placement
from refusal_lens.prompts.files import load_prompts
from refusal_lens.study.fitted import category_set, pooled_set
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.one_writer import one_writer
from refusal_lens.study.order import asked_stages, every_stage
from refusal_lens.study.results import Results
from refusal_lens.study.run import Watcher, begin, check_finished, run_stages, study_of
from refusal_lens.study.stage import Bench


@final
@dataclass(frozen=True, eq=False)
class Explained:
    """One prompt's projection, part by part, and the tokens that its heads read."""

    attribution: Attribution
    sources: HeadSources


@one_writer
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
    study = study_of(folder)
    if category is not None:  # before the model is loaded, which takes long
        categories = study.categories or load_prompts(study.prompts).categories
        if category not in categories:
            raise InputError(f"category {category!r} is not in this run; it has {list(categories)}")
    return begin(study, folder, placement)


def _direction(bench: Bench, category: str | None) -> Direction:
    directions = pooled_set(bench.results) if category is None else category_set(bench.results)
    return directions.at(category or directions.categories[0], chosen_layer(bench.results))

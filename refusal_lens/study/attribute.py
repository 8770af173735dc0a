"""Attribution in the folder of a finished study: its stages, and one prompt taken apart."""

from dataclasses import dataclass
from pathlib import Path
from typing import final

from refusal_lens.attribution import Attribution, HeadSources, decompose_prompt, head_sources
from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.prompts import load_prompts
from refusal_lens.study.attribution_plan import attribution_stages, chosen_stages
from refusal_lens.study.plan import STAGES
from refusal_lens.study.question import Study
from refusal_lens.study.results import Results
from refusal_lens.study.run import Watcher, begin, run_stages, stale
from refusal_lens.study.stages import Bench, Stage


@final
@dataclass(frozen=True, eq=False)
class Explained:
    """One prompt's projection, part by part, and the tokens that its heads read."""

    attribution: Attribution
    sources: HeadSources


def run_attribution(
    folder: Path | str, watcher: Watcher, *, category: str | None = None, full: bool = False
) -> Results:
    """Run what is missing of a run's attribution and return its results.

    Stops at any moment lose at most the stage in flight. `category` is the one that is knocked
    out and whose prompt is shown, by default the first whose score can be trusted; `full` measures
    the whole maps.

    Raises:
        InputError: no run, one whose study has not finished, or an unknown category.
    """
    bench = _bench(folder, category)
    every = {s.name: s for s in attribution_stages(bench.prompts.categories)}
    names = chosen_stages(bench, category, full=full)
    _check(bench, [every[name] for name in names])
    return run_stages(bench, [every[name] for name in names], watcher)


def explain_prompt(folder: Path | str, prompt: str, *, category: str | None = None) -> Explained:
    """Take one prompt apart along a category's direction, the pooled one without a category.

    Raises:
        InputError: as `run_attribution`; a prompt that is too long for the model.
    """
    bench = _bench(folder, category)
    layered = {s.name: s for s in STAGES}
    _check(bench, [layered[name] for name in ("directions", "geometry", "selection")])
    direction = _direction(bench, category)
    attribution = decompose_prompt(bench.model, prompt, direction)
    return Explained(attribution, head_sources(bench.model, prompt, direction))


def _bench(folder: Path | str, category: str | None) -> Bench:
    study = Study.of(Results.open(folder).manifest.get("question"))
    if category is not None:  # before the model is loaded, which takes long
        held = study.categories or load_prompts(study.prompts).categories
        if category not in held:
            raise InputError(f"category {category!r} is not in this run; it has {list(held)}")
    return begin(study, folder)


def _direction(bench: Bench, category: str | None) -> Direction:
    name = "pooled" if category is None else "directions"
    found = bench.results.get("directions", name, DirectionSet)
    return found.at(category or found.categories[0], bench.chosen_layer())


def _check(bench: Bench, wanted: list[Stage]) -> None:
    """Refuse a study whose own stages are not there, or not as they would be made now."""
    own = {s.name: s for s in STAGES}
    open_stages, used = list(wanted), dict[str, Stage]()
    while open_stages:
        stage = open_stages.pop()
        needed = [*stage.needs, *stage.after]
        open_stages += [own[n] for n in needed if n in own and n not in used]
        used |= {n: own[n] for n in (stage.name, *needed) if n in own}
    if missing := stale(bench, list(used.values())):
        raise InputError(
            f"stages {[s.name for s in missing]} of {str(bench.results.folder)!r} are not finished "
            "or were made with other versions; run its `refusal-lens study` again first"
        )

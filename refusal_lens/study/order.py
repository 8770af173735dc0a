"""The stages that there are, found in `study/stages`, and the order in which they run."""

from collections.abc import Sequence
from functools import cache
from graphlib import TopologicalSorter

from refusal_lens.discovery import modules_of
from refusal_lens.study.scored import patched_categories, scored_categories
from refusal_lens.study.sizes import STAGES, declared_in
from refusal_lens.study.stage import Bench, PerCategory, Plan, Stage, VerdictsOf


def stages_of(plan: Plan, categories: Sequence[str]) -> tuple[Stage, ...]:
    """The stages of a plan in the order in which they run."""
    return tuple(s for s in every_stage(tuple(categories)) if s.plan == plan)


@cache
def every_stage(categories: tuple[str, ...]) -> tuple[Stage, ...]:
    """All stages of a run with these categories, each behind what it needs or comes after.

    Of stages that are ready the one with the smallest `place` comes first, then as declared.

    Raises:
        ValueError: two stages have one name, or one needs a stage that does not exist.
    """
    declared = [stage for m in modules_of(STAGES) for stage in declared_in(m)]
    by_name: dict[str, Stage] = {}
    for one in declared:
        for stage in _expanded(one, categories):
            if stage.name in by_name:
                raise ValueError(f"two stages are called {stage.name!r}")
            by_name[stage.name] = stage
    return _sorted(by_name)


def _expanded(declared: Stage | PerCategory, categories: Sequence[str]) -> tuple[Stage, ...]:
    if isinstance(declared, Stage):
        return (declared,)
    return tuple(declared.of(i, c) for i, c in enumerate(categories))


def asked_stages(bench: Bench, category: str | None, *, full: bool) -> tuple[Stage, ...]:
    """The stages of attribution to run.

    One category's writers are knocked out and followed by default; with `full` those of each and
    the pooled direction's, with everything that can take a writer's place.
    """
    shown = category or _shown(bench)
    return tuple(
        stage
        for stage in stages_of("attribution", bench.prompts.categories)
        if stage.asked_for(full, stage.category in (None, shown))
    )


def all_verdicts() -> tuple[VerdictsOf, ...]:
    """The records of read answers that the study's stages declare, in the order of a report."""
    return tuple(v for stage in stages_of("study", ()) for v in stage.verdicts)


def _shown(bench: Bench) -> str:
    """The first category with a first-token score, else by openings, else the first of all."""
    scored, patched = scored_categories(bench), patched_categories(bench)
    return next(iter((*scored, *patched, *bench.prompts.categories)))


def _sorted(stages: dict[str, Stage]) -> tuple[Stage, ...]:
    graph: dict[str, list[str]] = {}
    for name, stage in stages.items():
        if lacking := [n for n in stage.needs if n not in stages]:
            raise ValueError(f"stage {name!r} needs stages that do not exist: {lacking}")
        graph[name] = [n for n in (*stage.needs, *stage.after) if n in stages]
    rank = {name: (stage.place, i) for i, (name, stage) in enumerate(stages.items())}
    sorter, ordered = TopologicalSorter(graph), list[str]()
    sorter.prepare()
    ready = list[str]()
    while sorter.is_active():
        ready = sorted((*ready, *sorter.get_ready()), key=rank.__getitem__)
        ordered.append(ready.pop(0))
        sorter.done(ordered[-1])
    return tuple(stages[name] for name in ordered)

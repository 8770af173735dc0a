"""What the sections on attribution share: which of its stages a run holds."""

from typing import Final

from refusal_lens.attribution import Attribution, Decomposition
from refusal_lens.plots.text import visible
from refusal_lens.report.run import Run
from refusal_lens.study.key import Key, R

_STAGES: Final = ("attribution", "patching", "patching_full", "depth", "depth_full")
_FINER: Final = "_full"
_FEW: Final = "in the hover"


def was_attributed(run: Run) -> bool:
    """Whether attribution was asked for in a run."""
    return any(run.results.digest(stage) for stage in _STAGES)


def series(run: Run, key: Key[R]) -> list[R]:
    """Numbered records of a stage, from 0 on."""
    records: list[R] = []
    while (record := run.get(key.at(len(records)))) is not None:
        records.append(record)
    return records


def title_of(run: Run, category: str) -> str:
    """A category's title."""
    return visible(run.titles.get(category, category))


def attributions(decomposition: Decomposition) -> list[Attribution]:
    """What every part writes along each direction."""
    return [decomposition.attribution(t.category) for t in decomposition.targets]


def finest(run: Run, stage: str) -> str:
    """The whole maps where they were measured."""
    finer = stage + _FINER
    return finer if run.results.digest(finer) and not run.results.gap(finer) else stage


def numbered(run: Run, stem: str) -> list[str]:
    """Stages of each category that are there, in order."""
    stages = [f"{stem}_{i}" for i in range(len(run.question.get("categories") or run.titles))]
    return [s for s in stages if run.results.digest(s) or run.results.digest(s + _FINER)]


def gap_of(run: Run, stage: str) -> str:
    """The stage that says why something is missing."""
    if stage not in ("knock_out", "answer_map", "paths"):
        return finest(run, stage)
    stages = numbered(run, stage)
    if not stages:
        return stage
    return stages[0] if run.results.digest(stages[0]) else stages[0] + _FINER

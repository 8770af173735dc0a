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
    found: list[R] = []
    while (record := run.get(key.at(len(found)))) is not None:
        found.append(record)
    return found


def title_of(run: Run, category: str) -> str:
    """A category's title."""
    return visible(run.titles.get(category, category))


def attributions(found: Decomposition) -> list[Attribution]:
    """What every part writes along each direction."""
    return [found.attribution(t.category) for t in found.targets]


def finest(run: Run, stage: str) -> str:
    """The whole maps where they were measured."""
    finer = stage + _FINER
    return finer if run.results.digest(finer) and not run.results.gap(finer) else stage


def numbered(run: Run, stem: str) -> list[str]:
    """Stages of each category that are there, in order."""
    found = [f"{stem}_{i}" for i in range(len(run.question.get("categories") or run.titles))]
    return [s for s in found if run.results.digest(s) or run.results.digest(s + _FINER)]


def gap_of(run: Run, stage: str) -> str:
    """The stage that says why something is missing."""
    if stage not in ("knock_out", "answer_map", "paths"):
        return finest(run, stage)
    found = numbered(run, stage)
    if not found:
        return stage
    return found[0] if run.results.digest(found[0]) else found[0] + _FINER

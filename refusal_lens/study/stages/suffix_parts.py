"""Answers and residuals with every suffix and neutral text, the prompts in parts.

A part is a stage, so that a run that stops loses at most one of them.
"""

from functools import partial
from typing import Final

from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work
from refusal_lens.study.stages.suffix_basis import (
    BASIS,
    SuffixSizes,
    answering,
    given_suffixes,
    suffix_prompts,
)
from refusal_lens.suffixes import SuffixReadings, measure_texts
from refusal_lens.suffixes.neutral import texts_for

READINGS: Final = Key("suffix_part", "readings", SuffixReadings)
PARTS: Final = 8
_NEUTRAL_SHARE: Final = 4 / 3  # texts per suffix, before the lengths of suffixes are known


def part_name(part: int) -> str:
    """The name of a part's stage."""
    return f"suffix_part_{part}"


def measured(bench: Bench, tick: Progress, *, part: int) -> Records:
    """Verdicts and shifts of one part of the prompts; nothing where it has none."""
    prompts = _prompts(bench, part)
    if not len(prompts):
        return {}
    basis = bench.results.get(BASIS)
    return {
        READINGS.of(part_name(part)): measure_texts(
            bench.model, prompts, basis, answering(bench), progress=tick
        )
    }


def _prompts(bench: Outline, part: int) -> PromptSet:
    """Every eighth pair, so that each part has prompts of every category."""
    prompts = suffix_prompts(bench)
    units = list(dict.fromkeys(p.unit for p in prompts))
    mine = {*units[part::PARTS]}
    return PromptSet(tuple(p for p in prompts if p.unit in mine))


def _n_texts(bench: Outline) -> int:
    suffixes = given_suffixes(bench)
    if not isinstance(bench, Bench):
        return round(_NEUTRAL_SHARE * len(suffixes))
    prompts = suffix_prompts(bench)
    return bench.once(
        "number of suffixes and neutral texts",
        lambda: len(texts_for(bench.model, prompts, suffixes).distinct) if len(prompts) else 0,
    )


def _work(bench: Outline, part: int) -> Work:
    ticks = len(_prompts(bench, part)) * (2 * _n_texts(bench) + 1)
    return Work(ticks, 1.5, bench.size(SuffixSizes).suffix_tokens / 2)


def _stage(part: int) -> Stage:
    return Stage(
        part_name(part),
        f"prompts with each suffix and neutral text, part {part + 1} of {PARTS}",
        run=partial(measured, part=part),
        work=partial(_work, part=part),
        writes=(READINGS,),
        needs=("suffix_basis",),
        uses=(SuffixSizes,),
        plan="suffixes",
        family="suffix_part",
        place=421,
    )


STAGES: Final = tuple(_stage(part) for part in range(PARTS))

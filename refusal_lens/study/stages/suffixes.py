"""What suffixes did to refusal and to the stream, and whether one predicts the other."""

from typing import Final

from refusal_lens.progress import Progress
from refusal_lens.study.fitted import Gap
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work
from refusal_lens.study.stages.suffix_basis import BASIS, SuffixSizes
from refusal_lens.study.stages.suffix_parts import PARTS, READINGS, part_name
from refusal_lens.suffixes import SuffixAnalysis, analyse

SUFFIXES: Final = Key("suffixes", "analysis", SuffixAnalysis)


def analysed(bench: Bench, tick: Progress) -> Records:
    """The analysis of all parts together."""
    keys = [READINGS.of(part_name(part)) for part in range(PARTS)]
    readings = [part for key in keys if (part := bench.results.find(key)) is not None]
    if not readings:
        raise Gap("no prompts were measured with a suffix")
    analysis = analyse(bench.results.get(BASIS), readings, seed=bench.study.seed)
    tick(1)
    return {SUFFIXES: analysis}


def _work(bench: Outline) -> Work:
    del bench
    return Work(1)


STAGE: Final = Stage(
    "suffixes",
    "what suffixes did, and whether push predicts it",
    run=analysed,
    work=_work,
    writes=(SUFFIXES,),
    needs=("suffix_basis",),
    after=tuple(part_name(part) for part in range(PARTS)),
    uses=(SuffixSizes,),
    plan="suffixes",
    place=430,
)

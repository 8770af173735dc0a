"""Refusal tokens, and where a score can be trusted."""

from dataclasses import dataclass
from typing import Final, final

from refusal_lens.errors import InputError
from refusal_lens.evaluation import Answers, evaluate, fit_score
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.study.fitted import FitSizes, Gap
from refusal_lens.study.key import Key
from refusal_lens.study.sizes import ALL, StageSizes, size
from refusal_lens.study.stage import Bench, Outline, Records, Stage, VerdictsOf, Work
from refusal_lens.study.stages.behaviour import BEHAVIOUR, BehaviourSizes

TRUST: Final = Key("score", "trust", ScoreTrust)
HELD_OUT: Final = Key("score", "val", Answers)


@final
@dataclass(frozen=True)
class ScoreSizes(StageSizes):
    """Held-out pairs of each category on which scores are set beside read verdicts."""

    val_pairs: int = size(30, full=ALL, quick=16)


def score(bench: Bench, tick: Progress) -> Records:
    """Refusal tokens from `train`; where the scores can be trusted, from `val`."""
    val = _prompts(bench)
    decoding = Decoding(bench.size(BehaviourSizes).behaviour_tokens)
    val_read = evaluate(bench.model, val, bench.judge, decoding=decoding, progress=tick)
    read = bench.results.get(BEHAVIOUR)
    try:
        trust = fit_score(bench.model, bench.train, read, val, val_read, bench.study.score)
    except InputError as error:
        raise Gap(str(error)) from None
    return {TRUST: trust, HELD_OUT: val_read}


def _prompts(bench: Outline) -> PromptSet:
    """The held-out prompts on which scores are tried."""
    return bench.split("val", bench.size(ScoreSizes).val_pairs)


STAGE: Final = Stage(
    "score",
    "refusal tokens, and where a score can be trusted",
    run=score,
    work=lambda b: Work.over(_prompts(b), 4, b.size(BehaviourSizes).behaviour_tokens),
    writes=(TRUST, HELD_OUT),
    needs=("behaviour",),
    uses=(FitSizes, BehaviourSizes, ScoreSizes),
    place=60,
    verdicts=(VerdictsOf("held-out prompts", HELD_OUT),),
)

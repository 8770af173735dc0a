"""What the model does with the fitting prompts."""

from dataclasses import dataclass
from typing import Final, final

from refusal_lens.evaluation import Answers, evaluate
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.study.fitted import FitSizes
from refusal_lens.study.key import Key
from refusal_lens.study.sizes import StageSizes, size
from refusal_lens.study.stage import Bench, Records, Stage, VerdictsOf, Work

BEHAVIOUR: Final = Key("behaviour", "train", Answers)


@final
@dataclass(frozen=True)
class BehaviourSizes(StageSizes):
    """Longest answer, in tokens, whose opening says what a model did."""

    behaviour_tokens: int = size(24, full=48, quick=16)


def behaviour(bench: Bench, tick: Progress) -> Records:
    """What the model does with the fitting prompts."""
    decoding = Decoding(bench.size(BehaviourSizes).behaviour_tokens)
    read = evaluate(bench.model, bench.train, bench.judge, decoding=decoding, progress=tick)
    return {BEHAVIOUR: read}


STAGE: Final = Stage(
    "behaviour",
    "what the model does: answers to the fitting prompts",
    run=behaviour,
    work=lambda b: Work.over(b.train, 1, b.size(BehaviourSizes).behaviour_tokens),
    writes=(BEHAVIOUR,),
    uses=(FitSizes, BehaviourSizes),
    place=10,
    verdicts=(VerdictsOf("fitting prompts", BEHAVIOUR),),
)

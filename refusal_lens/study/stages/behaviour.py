"""What the model does with the fitting prompts."""

from typing import Final

from refusal_lens.evaluation import Answers, evaluate
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.study.stage import TOKEN, Bench, Records, Stage, n_train


def behaviour(bench: Bench, tick: Progress) -> Records:
    """What the model does with the fitting prompts."""
    decoding = Decoding(bench.study.sizes.behaviour_tokens)
    read = evaluate(bench.model, bench.train, bench.judge, decoding=decoding, progress=tick)
    return {"train": read}


STAGE: Final = Stage(
    "behaviour",
    "what the model does: answers to the fitting prompts",
    (),
    (Answers,),
    behaviour,
    n_train,
    lambda b: 1 + TOKEN * b.study.sizes.behaviour_tokens,
)

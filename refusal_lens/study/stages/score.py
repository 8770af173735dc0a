"""Refusal tokens, and where a score can be trusted."""

from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.evaluation import Answers, evaluate, fit_score
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.study.fitted import Gap
from refusal_lens.study.stage import TOKEN, Bench, Records, Stage


def score(bench: Bench, tick: Progress) -> Records:
    """Refusal tokens from `train`; where the scores can be trusted, from `val`."""
    val = bench.split("val", bench.study.sizes.val_pairs)
    decoding = Decoding(bench.study.sizes.behaviour_tokens)
    val_read = evaluate(bench.model, val, bench.judge, decoding=decoding, progress=tick)
    read = bench.results.get("behaviour", "train", Answers)
    try:
        trust = fit_score(bench.model, bench.train, read, val, val_read)
    except InputError as error:
        raise Gap(str(error)) from None
    return {"trust": trust, "val": val_read}


def _n_val(bench: Bench) -> int:
    return len(bench.split("val", bench.study.sizes.val_pairs))


STAGE: Final = Stage(
    "score",
    "refusal tokens, and where a score can be trusted",
    ("behaviour",),
    (ScoreTrust, Answers),
    score,
    _n_val,
    lambda b: 4 + TOKEN * b.study.sizes.behaviour_tokens,
)

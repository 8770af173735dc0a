"""Refusal against over-refusal as strength grows, and at matched refusal."""

from dataclasses import replace
from itertools import product
from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.evaluation import (
    UNEDITED,
    Grid,
    Matched,
    Steered,
    TradeOff,
    answer_steered,
    evaluate,
)
from refusal_lens.evaluation.scoring import calibrate_score
from refusal_lens.interventions import Add
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import Decoding, LensModel, allow_transfer
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.study.compared import (
    STEERED_AT,
    ComparedSizes,
    ReadSizes,
    compared_directions,
    compared_grid,
    compared_pairs,
    compared_prompts,
    grid_cells,
    matched,
)
from refusal_lens.study.key import Key
from refusal_lens.study.other_models import half_refusing, half_refusing_scale
from refusal_lens.study.stage import Bench, Outline, Records, Stage, VerdictsOf, Work
from refusal_lens.study.stages.behaviour import BehaviourSizes
from refusal_lens.study.stages.contrasts import CONTRAST_ANSWERS, ContrastSizes
from refusal_lens.study.stages.score import TRUST

TRADE_OFF: Final = Key("trade_off", "trade_off", TradeOff)
GRID: Final = Key("trade_off", "grid", Grid)
MATCHED: Final = Key("trade_off", "matched", Matched)
COMPARED_TRUST: Final = Key("trade_off", "trust", ScoreTrust)
READ: Final = Key("trade_off", "read", Steered)


def trade_off(bench: Bench, tick: Progress) -> Records:
    """Refusal against over-refusal as strength grows: every category's direction, the pooled one
    and its controls of equal length, all on the same test pairs; compared at matched refusal.

    The embedded model is compared at the adapter scale at which it refuses about half of the refuse
    side, where a curve has room on both sides, with the study's own directions. Its scores are then
    calibrated on its own read answers, and some answers are read for the agreement of the two.
    Where a category has no score that can be trusted, its prompts' answers are generated and read.
    """
    model, records = half_refusing(bench), Records()
    trust = bench.results.find(TRUST)
    if trust is not None and model is not bench.model:
        trust = records[COMPARED_TRUST] = _calibrated(bench, model, trust, tick)
    pairs = compared_pairs(bench)
    cases = compared_directions(bench)
    grid = compared_grid(bench, model, cases, trust, tick)
    if model is not bench.model:
        few = _read_too(bench, pairs)
        strength = min((s for s in grid.strengths if s > 0), default=STEERED_AT)
        added = [Add(d, strength=strength) for d, kind in cases if kind == "direction"]
        decoding = Decoding(bench.size(ReadSizes).manner_tokens)
        with allow_transfer():
            records[READ] = answer_steered(
                model, few, added, bench.judge, decoding=decoding, progress=tick
            )
    return records | {TRADE_OFF: grid.trade_off(), GRID: grid} | matched(bench, grid, MATCHED)


def _calibrated(bench: Bench, model: LensModel, trust: ScoreTrust, tick: Progress) -> ScoreTrust:
    """The scores for another scale, by the answers that the contrasts read there, if they did.

    Where nothing was refused there, or all of it, no score can be trusted.
    """
    prompts = _calibrating(bench)
    read = bench.results.find(CONTRAST_ANSWERS)
    if read is None or read.provenance.model_digest != model.digest:
        decoding = Decoding(bench.size(BehaviourSizes).behaviour_tokens)
        read = evaluate(model, prompts, bench.judge, decoding=decoding)
    tick(len(prompts))
    try:
        return calibrate_score(model, prompts, read, trust)
    except InputError:
        untrusted = dict.fromkeys(trust.mode, "generation only")
        return replace(trust, mode=untrusted, threshold={}, openings={}, auroc={}, opening_auroc={})


def _read_too(bench: Outline, pairs: PromptSet) -> PromptSet:
    """The pairs whose answers are read at another adapter scale, to check its scores."""
    return PromptSet(pairs.prompts[: 2 * (bench.size(ReadSizes).manner_pairs // 2)])


def _calibrating(bench: Outline) -> PromptSet:
    """The fitting prompts on which scores are calibrated at another adapter scale."""
    return bench.split("train", bench.size(ContrastSizes).contrast_pairs)


def _work(bench: Outline) -> Work:
    pairs = compared_prompts(bench)
    scores = Work.over([*product(grid_cells(bench), pairs)])
    if half_refusing_scale(bench) is None:
        return scores
    answers = [*product((UNEDITED, *bench.prompts.categories), _read_too(bench, pairs))]
    read = Work.over(answers, 2, bench.size(ReadSizes).manner_tokens)
    return scores + Work.over(_calibrating(bench)) + read


STAGE: Final = Stage(
    "trade_off",
    "refusal against over-refusal as strength grows",
    run=trade_off,
    work=_work,
    writes=(TRADE_OFF, GRID, MATCHED, COMPARED_TRUST, READ),
    needs=("directions", "geometry"),
    after=("score", "selection", "contrasts"),
    uses=(ComparedSizes, ReadSizes, BehaviourSizes, ContrastSizes),
    place=110,
    verdicts=(VerdictsOf("trade-off, to check its scores", READ),),
)

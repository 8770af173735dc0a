"""Refusal against over-refusal as strength grows, and at matched refusal."""

from dataclasses import replace
from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.evaluation import (
    Answers,
    Grid,
    Matched,
    Reading,
    Steered,
    TradeOff,
    answer_steered,
    evaluate,
    measure_grid,
)
from refusal_lens.evaluation.scoring import calibrate_score
from refusal_lens.interventions import Add
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import Decoding, LensModel, allow_transfer
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.study.compared import (
    STEERED_AT,
    compared_directions,
    compared_pairs,
    matched,
    n_test_pairs,
)
from refusal_lens.study.other_models import half_refusing
from refusal_lens.study.stage import Bench, Records, Stage


def trade_off(bench: Bench, tick: Progress) -> Records:
    """Refusal against over-refusal as strength grows: every category's direction, the pooled one
    and its controls of equal length, all on the same test pairs; compared at matched refusal.

    The embedded model is compared at the adapter scale at which it refuses about half of the refuse
    side, where a curve has room on both sides, with the study's own directions. Its scores are then
    calibrated on its own read answers, and some answers are read for the agreement of the two.
    Where a category has no score that can be trusted, its prompts' answers are generated and read.
    """
    sizes = bench.study.sizes
    model, records = half_refusing(bench), Records()
    trust = None
    if bench.results.has("score", "trust"):
        trust = bench.results.get("score", "trust", ScoreTrust)
        if model is not bench.model:
            trust = records["trust"] = _calibrated(bench, model, trust)
    pairs = compared_pairs(bench)
    cases = compared_directions(bench)
    reading = Reading(trust, bench.judge, Decoding(sizes.manner_tokens))
    with allow_transfer():  # the study's own directions, at another scale of its adapter
        grid = measure_grid(model, cases, pairs, reading, strengths=sizes.strengths, progress=tick)
    if model is not bench.model:
        few = PromptSet(pairs.prompts[: 2 * (sizes.manner_pairs // 2)])
        strength = min((s for s in grid.strengths if s > 0), default=STEERED_AT)
        added = [Add(d, strength=strength) for d, kind in cases if kind == "direction"]
        with allow_transfer():
            records["read"] = answer_steered(
                model, few, added, reading.judge, decoding=reading.decoding, progress=tick
            )
    return records | {"trade_off": grid.trade_off(), "grid": grid} | matched(bench, grid)


def _calibrated(bench: Bench, model: LensModel, trust: ScoreTrust) -> ScoreTrust:
    """The scores for another scale, by the answers that the contrasts read there, if they did.

    Where nothing was refused there, or all of it, no score can be trusted.
    """
    prompts = bench.split("train", bench.study.sizes.contrast_pairs)
    read = None
    if bench.results.has("contrasts", "behaviour"):
        read = bench.results.get("contrasts", "behaviour", Answers)
    if read is None or read.provenance.model_digest != model.digest:
        decoding = Decoding(bench.study.sizes.behaviour_tokens)
        read = evaluate(model, prompts, bench.judge, decoding=decoding)
    try:
        return calibrate_score(model, prompts, read, trust)
    except InputError:
        untrusted = dict.fromkeys(trust.mode, "generation only")
        return replace(trust, mode=untrusted, threshold={}, openings={}, auroc={}, opening_auroc={})


def _n_trade_off(bench: Bench) -> int:
    # The categories' directions, the pooled one and three controls, at each strength but 0.
    categories, sizes = len(bench.prompts.categories), bench.study.sizes
    prompts = n_test_pairs(bench, sizes.trade_off_pairs)
    scores = prompts * (1 + (categories + 4) * len(set(sizes.strengths) - {0.0}))
    if not bench.study.planted:
        return scores
    # At another scale the scores are calibrated, and some answers are read.
    answers = min(prompts, 2 * (sizes.manner_pairs // 2)) * (1 + categories)
    return scores + len(bench.split("train", sizes.contrast_pairs)) + 2 * answers


STAGE: Final = Stage(
    "trade_off",
    "refusal against over-refusal as strength grows",
    ("directions", "geometry"),
    (TradeOff, Grid, Matched, ScoreTrust, Steered),
    trade_off,
    _n_trade_off,
    lambda b: 1,
    after=("score", "selection", "contrasts"),
)

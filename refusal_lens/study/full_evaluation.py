"""The stages of the evaluation by generated answers.

They are no part of the study's own plan: `refusal_lens.study.evaluate` runs them in its folder.
"""

from functools import partial
from typing import Final

from refusal_lens.evaluation import (
    Grid,
    Matched,
    Reading,
    SideBySide,
    answer_under,
    measure_grid,
    read_all,
    whole_pairs,
)
from refusal_lens.evaluation.agreement import grids_agree
from refusal_lens.interventions import Ablate, Add, Edit
from refusal_lens.judges import Agreement, Judge, RefusalJudge
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.study.evaluation_stages import (
    STEERED_AT,
    compared_directions,
    compared_pairs,
    matched,
)
from refusal_lens.study.fitted import POOLED, direction_at, pooled_set
from refusal_lens.study.stages import (
    Bench,
    Records,
    Stage,
    half_refusing,
    own_directions,
)

RATES: Final = "full_rates"
GRID: Final = "full_grid"
_TOKEN: Final = 0.1  # passes a generated token, as in the study's plan


def full_stages(judge: Judge | None = None) -> tuple[Stage, ...]:
    """The stages of the full evaluation; by default the refusal judge reads.

    Their digests are the same whoever reads, so that a new study drops what holds no longer.
    """
    judge = RefusalJudge() if judge is None else judge
    return (
        Stage(
            RATES,
            "generated answers with each direction added and ablated",
            ("directions", "geometry"),
            (SideBySide,),
            partial(rates, judge=judge),
            lambda b: _n_prompts(b) * (3 + 2 * len(b.prompts.categories)),
            lambda b: 2 + _TOKEN * b.study.sizes.shown_tokens,
            after=("selection",),
        ),
        Stage(
            GRID,
            "generated answers at every strength of the trade-off",
            ("directions", "geometry"),
            (Grid, Matched, Agreement),
            partial(whole_grid, judge=judge),
            _n_grid,
            lambda b: 2 + _TOKEN * b.study.sizes.manner_tokens,
            after=("selection", "trade_off"),
        ),
    )


def rates(bench: Bench, tick: Progress, *, judge: Judge) -> Records:
    """Refusal and over-refusal of the common test pairs, unedited and with each direction added
    at strength 1 or ablated, in the study's own model."""
    pairs, layer = compared_pairs(bench), bench.chosen_layer()
    pooled = direction_at(pooled_set(bench.results), POOLED, layer)
    conditions: list[tuple[str, Edit | None]] = [("none", None)]
    for d in (pooled, *own_directions(bench, layer)):
        conditions.append((f"{d.category} | added", Add(d, strength=STEERED_AT)))
        conditions.append((f"{d.category} | ablated", Ablate(d)))
    decoding = Decoding(bench.study.sizes.shown_tokens)
    said = answer_under(bench.model, pairs, conditions, decoding=decoding, progress=tick)
    texts = tuple(p.text for p in pairs)
    return {"evaluation": SideBySide(texts, read_all(said, pairs, judge))}


def whole_grid(bench: Bench, tick: Progress, *, judge: Judge) -> Records:
    """The grid of the trade-off by generated answers alone, and whether scores agree with it."""
    sizes, model = bench.study.sizes, half_refusing(bench)
    reading = Reading(None, judge, Decoding(sizes.manner_tokens))
    grid = measure_grid(
        model,
        compared_directions(bench),
        compared_pairs(bench),
        reading,
        strengths=sizes.strengths,
        progress=tick,
    )
    records: Records = {"grid": grid, "trade_off": grid.trade_off()} | matched(bench, grid)
    if bench.results.has("trade_off", "grid"):
        by_scores = bench.results.get("trade_off", "grid", Grid)
        if not bool(by_scores.generated.all()):
            records["screening"] = grids_agree(by_scores, grid, bench.study.seed)
    return records


def _n_prompts(bench: Bench) -> int:
    """How many prompts are compared; none where the stages will say that there are too few."""
    test = bench.prompts.only(split="test")
    return len(whole_pairs(test, bench.study.sizes.trade_off_pairs))


def _n_grid(bench: Bench) -> int:
    # The categories' directions, the pooled one and three controls, at each strength but 0.
    cells = (len(bench.prompts.categories) + 4) * len(set(bench.study.sizes.strengths) - {0.0})
    return _n_prompts(bench) * (1 + cells)

"""The grid of the trade-off by generated answers alone."""

from typing import Final

from refusal_lens.evaluation import Grid, Matched, Reading, measure_grid
from refusal_lens.evaluation.agreement import grids_agree
from refusal_lens.judges import JudgeAgreement
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.study.compared import (
    compared_directions,
    compared_pairs,
    matched,
    n_compared,
)
from refusal_lens.study.other_models import half_refusing
from refusal_lens.study.stage import TOKEN, Bench, Records, Stage

GRID: Final = "full_grid"


def whole_grid(bench: Bench, tick: Progress) -> Records:
    """The grid of the trade-off by generated answers alone, and whether scores agree with it."""
    sizes, model = bench.study.sizes, half_refusing(bench)
    reading = Reading(None, bench.judge, Decoding(sizes.manner_tokens))
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


def _n_grid(bench: Bench) -> int:
    # The categories' directions, the pooled one and three controls, at each strength but 0.
    cells = (len(bench.prompts.categories) + 4) * len(set(bench.study.sizes.strengths) - {0.0})
    return n_compared(bench) * (1 + cells)


STAGE: Final = Stage(
    GRID,
    "generated answers at every strength of the trade-off",
    ("directions", "geometry"),
    (Grid, Matched, JudgeAgreement),
    whole_grid,
    _n_grid,
    lambda b: 2 + TOKEN * b.study.sizes.manner_tokens,
    after=("selection", "trade_off"),
)

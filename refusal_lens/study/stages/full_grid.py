"""The grid of the trade-off by generated answers alone."""

from typing import Final

from refusal_lens.evaluation import Grid, Matched, TradeOff
from refusal_lens.evaluation.agreement import grids_agree
from refusal_lens.judges import JudgeAgreement
from refusal_lens.progress import Progress
from refusal_lens.study.compared import (
    ComparedSizes,
    ReadSizes,
    compared_directions,
    compared_grid,
    compared_prompts,
    grid_cells,
    matched,
)
from refusal_lens.study.key import Key
from refusal_lens.study.other_models import half_refusing
from refusal_lens.study.stage import TOKEN, Bench, Records, Stage, Work
from refusal_lens.study.stages.trade_off import GRID as BY_SCORES

GRID: Final = Key("full_grid", "grid", Grid)
TRADE_OFF: Final = Key("full_grid", "trade_off", TradeOff)
MATCHED: Final = Key("full_grid", "matched", Matched)
SCREENING: Final = Key("full_grid", "screening", JudgeAgreement)


def whole_grid(bench: Bench, tick: Progress) -> Records:
    """The grid of the trade-off by generated answers alone, and whether scores agree with it."""
    model = half_refusing(bench)
    grid = compared_grid(bench, model, compared_directions(bench), None, tick)
    records: Records = {GRID: grid, TRADE_OFF: grid.trade_off()} | matched(bench, grid, MATCHED)
    by_scores = bench.results.find(BY_SCORES)
    if by_scores is not None and not bool(by_scores.generated.all()):
        records[SCREENING] = grids_agree(by_scores, grid, bench.study.seed)
    return records


def _work(bench: Bench) -> Work:
    passes = 2 + TOKEN * bench.size(ReadSizes).manner_tokens
    return Work(len(compared_prompts(bench)) * len(grid_cells(bench)), passes)


STAGE: Final = Stage(
    "full_grid",
    "generated answers at every strength of the trade-off",
    run=whole_grid,
    work=_work,
    writes=(GRID, TRADE_OFF, MATCHED, SCREENING),
    needs=("directions", "geometry"),
    after=("selection", "trade_off"),
    uses=(ComparedSizes, ReadSizes),
    plan="full evaluation",
    place=220,
)

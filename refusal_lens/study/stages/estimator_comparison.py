"""All ways of finding directions that a run has, side by side: one table."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Final

from refusal_lens.directions import Direction
from refusal_lens.evaluation import Answers, Grid, Matched
from refusal_lens.evaluation.estimators import (
    EstimatorComparison,
    EstimatorMetric,
    EstimatorRow,
    MatchedAt,
    RefusedById,
    with_paired_tests,
)
from refusal_lens.evaluation.grid import DirectionKind
from refusal_lens.geometry.split_halves import Agreement
from refusal_lens.progress import Progress
from refusal_lens.records import Estimate
from refusal_lens.study.compared import (
    ComparedSizes,
    ReadSizes,
    compared_grid,
    compared_prompts,
    grid_cells,
    matched,
)
from refusal_lens.study.estimators import compared
from refusal_lens.study.estimators.entry import REFERENCE
from refusal_lens.study.fitted import FitSizes, Gap
from refusal_lens.study.key import Key
from refusal_lens.study.other_models import half_refusing
from refusal_lens.study.results import Results
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work
from refusal_lens.study.stages.estimator_prompts import UNEDITED, EstimatorSizes
from refusal_lens.study.stages.estimators import (
    ABLATED,
    ABLATION,
    ADDED,
    ADDITION,
    AGREEMENT,
    CALIBRATION,
    COSTS,
    DAMAGE,
    FIT,
    POOLED_SET,
    TRANSFER,
    WITHOUT,
    stage_of,
)
from refusal_lens.study.stages.score import TRUST
from refusal_lens.study.stages.trade_off import COMPARED_TRUST

COMPARISON: Final = Key("estimator_comparison", "comparison", EstimatorComparison)
GRID: Final = Key("estimator_comparison", "grid", Grid)
MATCHED: Final = Key("estimator_comparison", "matched", Matched)
REFERENCE_STAGE: Final = f"estimator_{REFERENCE}"


def measured_stages(results: Results) -> list[str]:
    """The stages of what was fitted and measured in a run, the reference first."""
    stages = [stage_of(one) for one in compared()]
    return [stage for stage in stages if results.has(FIT.of(stage))]


def compare(bench: Bench, tick: Progress) -> Records:
    """Trade-offs of all pooled directions on common prompts, and the table with its tests."""
    results = bench.results
    stages = measured_stages(results)
    if not stages or results.get(FIT.of(stages[0])).name != REFERENCE:
        raise Gap(f"{REFERENCE} has no direction here, which everything else is compared with")
    model = half_refusing(bench)
    trust = results.find(TRUST if model is bench.model else COMPARED_TRUST)
    grid = compared_grid(bench, model, _cases(results, stages), trust, tick)
    records: Records = {GRID: grid} | matched(bench, grid, MATCHED)
    shown = records.get(MATCHED)
    at, over = _matched(grid, shown) if isinstance(shown, Matched) else (None, {})
    rows = [_row(results, stage, over) for stage in stages]
    answers = results.get(ABLATED.of(stages[0]))
    records[COMPARISON] = EstimatorComparison(
        layer=results.get(FIT.of(stages[0])).layer,
        labels=bench.study.fitted_on,
        judge=answers.judge_name,
        decoding=answers.decoding,
        reference=REFERENCE,
        damage_kl=bench.size(EstimatorSizes).damage_kl,
        matched=at,
        rows=with_paired_tests(rows, [_flags(results, stage) for stage in stages], REFERENCE),
        provenance=bench.model.provenance(bench.prompts, bench.study.seed),
    )
    return records


def _cases(results: Results, stages: list[str]) -> list[tuple[Direction, DirectionKind]]:
    """The pooled direction of each, the first draw of a control, under its name.

    As long as the damage budget allows, so that one grid of strengths serves them all: two
    directions of one length may need very different strengths for the same refusal.
    """
    cases: list[tuple[Direction, DirectionKind]] = []
    for stage in stages:
        fit, pooled = results.get(FIT.of(stage)), results.get(POOLED_SET.of(stage))
        direction = pooled.at_site(pooled.categories[0], pooled.sites[0], pooled.offsets[0])
        strength = results.get(CALIBRATION.of(stage)).strength or 1.0
        kind: DirectionKind = "control" if fit.kind == "control" else "direction"
        cases.append(
            (replace(direction, category=fit.name, scale=strength * direction.scale), kind)
        )
    return cases


def _matched(grid: Grid, shown: Matched) -> tuple[MatchedAt, Mapping[str, Estimate | None]]:
    """The refusal rate that most directions reach, and each one's over-refusal there."""
    reached = [
        sum(curve.over_refusal[r] is not None for curve in shown.curves)
        for r in range(len(shown.rates))
    ]
    best = reached.index(max(reached)) if any(reached) else None
    at = MatchedAt(
        model=shown.model,
        rate=None if best is None else shown.rates[best],
        asked=len(grid.pairs),
        read=int(grid.generated.sum()),
        n_pairs=shown.n_pairs,
        estimators=len(shown.compared),
        outside=shown.outside,
        differences=len(shown.differences),
        apart=sum(d.low > 0 or d.high < 0 for d in shown.differences),
        low=min((d.low for d in shown.differences), default=None),
        high=max((d.high for d in shown.differences), default=None),
    )
    if best is None:
        return at, {}
    return at, {curve.name: curve.over_refusal[best] for curve in shown.curves}


def _row(results: Results, stage: str, over: Mapping[str, Estimate | None]) -> EstimatorRow:
    fit = results.get(FIT.of(stage))
    agreement, transfer = results.find(AGREEMENT.of(stage)), results.get(TRANSFER.of(stage))
    pooled = results.get(POOLED_SET.of(stage))
    calibration = results.get(CALIBRATION.of(stage))
    ablated, added = results.get(ABLATED.of(stage)), results.get(ADDED.of(stage))
    costs = results.get(COSTS.of(stage)).rows[0]
    return EstimatorRow(
        name=fit.name,
        kind=fit.kind,
        method=fit.method,
        n_directions=fit.n_directions,
        draws=fit.draws,
        draws_at_budget=fit.draws_at_budget,
        seconds=fit.seconds,
        peak_mib=fit.peak_mib,
        reliability=None if agreement is None else agreement.reliability[0],
        cosine=_corrected(agreement),
        naive=_naive(results, stage),
        separation=transfer.of("pooled"),
        left_out_separation=transfer.left_out,
        removed=_rate(results, ablated, ABLATION),
        left_out_removed=_rate(results, ablated, WITHOUT)
        if WITHOUT in ablated.conditions
        else None,
        added=_rate(results, added, ADDITION),
        length=float(pooled.scale[0, 0, 0]),
        strength=calibration.strength,
        no_strength=calibration.reason,
        damage_refusal=_damage(results, ablated),
        damage_over_refusal=_damage(results, added),
        matched_over_refusal=over.get(fit.name),
        kl=costs.kl,
        text_change=costs.text_change,
    )


def _corrected(agreement: Agreement | None) -> Estimate | None:
    """The corrected cosine to the reference; of the reference itself, on whatever sample, none."""
    if agreement is None or agreement.estimator == agreement.reference:
        return None
    return agreement.cosine[0]


def _naive(results: Results, stage: str) -> float:
    """The cosine to the reference's pooled direction, as both are."""
    one, other = (results.get(POOLED_SET.of(s)).vectors[0, 0, 0] for s in (stage, REFERENCE_STAGE))
    return float(one.double() @ other.double())


def _rate(results: Results, read: Answers, condition: str) -> Estimate:
    """The rate under a condition, with that of the same prompts unedited as its control."""
    plain = results.get(UNEDITED).only(ids=read.ids)
    return replace(read.rate(condition), control=plain.rate().value)


def _damage(results: Results, read: Answers) -> Estimate | None:
    return _rate(results, read, DAMAGE) if DAMAGE in read.conditions else None


def _flags(results: Results, stage: str) -> dict[EstimatorMetric, RefusedById]:
    ablated, added = results.get(ABLATED.of(stage)), results.get(ADDED.of(stage))
    conditions: tuple[tuple[EstimatorMetric, Answers, str], ...] = (
        ("removed", ablated, ABLATION),
        ("left_out_removed", ablated, WITHOUT),
        ("damage_refusal", ablated, DAMAGE),
        ("damage_over_refusal", added, DAMAGE),
    )
    return {m: read.refused(name) for m, read, name in conditions if name in read.conditions}


def _work(bench: Outline) -> Work:
    cells = grid_cells(bench, [one.name for one in compared()])
    return Work.over([*product(cells, compared_prompts(bench))])


STAGE: Final = Stage(
    "estimator_comparison",
    "estimators side by side, at matched refusal",
    run=compare,
    work=_work,
    writes=(COMPARISON, GRID, MATCHED),
    needs=("directions", "geometry", "estimator_prompts"),
    after=("score", "trade_off", "selection", "contrasts", *(stage_of(one) for one in compared())),
    uses=(FitSizes, ComparedSizes, ReadSizes, EstimatorSizes),
    plan="estimators",
    place=410,
)

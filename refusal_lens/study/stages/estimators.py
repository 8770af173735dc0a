"""Each way of finding directions by itself: what it finds, what it does, what it costs."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Final

from refusal_lens.directions import Direction, DirectionSet, InvariantProbe
from refusal_lens.directions.calibration import Calibration
from refusal_lens.errors import InputError
from refusal_lens.evaluation import Answers, CostMaterial, Costs, answer_under, measure_costs
from refusal_lens.evaluation.answering import Edits
from refusal_lens.evaluation.estimators import EstimatorFit
from refusal_lens.geometry import contrast_prompts
from refusal_lens.geometry.contrasts import BOTH
from refusal_lens.geometry.split_halves import Agreement, fit_agreement
from refusal_lens.geometry.transfer import Transfer, measure_transfer
from refusal_lens.interventions import Ablate, AblateSubspace, Add, Edit
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.prompts import Label
from refusal_lens.residuals import Residuals
from refusal_lens.study.compared import STEERED_AT, compared_pairs, compared_prompts
from refusal_lens.study.estimators import compared
from refusal_lens.study.estimators.entry import (
    Compared,
    Fitted,
    direction_set,
    fitting_residuals,
)
from refusal_lens.study.fit_cost import with_cost
from refusal_lens.study.fitted import FitSizes, Gap
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work
from refusal_lens.study.stages.estimator_prompts import UNEDITED, EstimatorSizes

FIT: Final = Key("estimators", "fit", EstimatorFit)
POOLED_SET: Final = Key("estimators", "pooled", DirectionSet)
CATEGORY_SET: Final = Key("estimators", "by_category", DirectionSet)
WITHOUT_SET: Final = Key("estimators", "without", DirectionSet)
BASIS_SET: Final = Key("estimators", "basis", DirectionSet)
AGREEMENT: Final = Key("estimators", "agreement", Agreement)
TRANSFER: Final = Key("estimators", "transfer", Transfer)
CALIBRATION: Final = Key("estimators", "calibration", Calibration)
ABLATED: Final = Key("estimators", "ablated", Answers)
ADDED: Final = Key("estimators", "added", Answers)
COSTS: Final = Key("estimators", "costs", Costs)
PROBE: Final = Key("estimators", "probe", InvariantProbe)
WRITES: Final = (
    *(FIT, POOLED_SET, CATEGORY_SET, WITHOUT_SET, BASIS_SET, PROBE, AGREEMENT),
    *(TRANSFER, CALIBRATION, ABLATED, ADDED, COSTS),
)

ABLATION: Final = "ablated"
WITHOUT: Final = "ablated, fitted without the prompt's category"
ADDITION: Final = "added"
DAMAGE: Final = "added at the damage budget"
_READ: Final[dict[Label, tuple[str, ...]]] = {
    "refuse": (ABLATION, WITHOUT, DAMAGE),
    "comply": (ADDITION, DAMAGE),
}
"""Under what the prompts of either side are answered."""


def estimate(bench: Bench, tick: Progress, *, one: Compared) -> Records:
    """Fit one way of finding directions, and measure it on prompts that it was not fitted on."""
    # Whichever stage comes first reads for all of them; that is no part of its own count.
    data = bench.once("fitting residuals", lambda: fitting_residuals(bench))
    fitted, seconds, mib = with_cost(lambda: _fit(bench, data, tick, one))
    sample, labels = fitting_sample(fitted, data, bench.study.fitted_on)
    calibrations = _calibrations(bench, fitted, tick)
    records: Records = {
        FIT: EstimatorFit(
            name=one.name,
            kind=one.kind,
            method=fitted.method,
            layer=chosen_layer(bench.results),
            labels=labels,
            n_prompts=len(sample),
            n_directions=len(fitted.basis) or 1,
            draws=len(fitted.pooled) if one.kind == "control" else 1,
            draws_at_budget=len(_at_budget(fitted, calibrations)),
            seconds=seconds,
            peak_mib=mib,
            provenance=sample.provenance,
        ),
        CALIBRATION: calibrations[0],
        TRANSFER: _transfer(bench, fitted),
    }
    return records | _directions(bench, fitted, tick) | _edited(bench, fitted, calibrations, tick)


def _fit(bench: Bench, data: Residuals, tick: Progress, one: Compared) -> Fitted:
    """What it gives; a gap where these prompts do not allow it, for the others may still do."""
    try:
        return one.fit(bench, data, tick)
    except InputError as error:
        raise Gap(str(error)) from None


def fitting_sample(fitted: Fitted, data: Residuals, labels: str) -> tuple[Residuals, str]:
    """What it was fitted on and what the sides are: the run's own, unless it chose others."""
    sample = data if fitted.refit is None else fitted.refit[1]
    return sample, fitted.labels or labels


def _directions(bench: Bench, fitted: Fitted, tick: Progress) -> Records:
    """What was fitted, and how far halves of the prompts agree on it."""
    records: Records = {POOLED_SET: direction_set(fitted.pooled, fitted.method)}
    if fitted.categories is not None:
        records[CATEGORY_SET] = fitted.categories
    if fitted.without:
        records[WITHOUT_SET] = direction_set(tuple(fitted.without.values()), fitted.method)
    if fitted.basis:
        records[BASIS_SET] = direction_set(fitted.basis, fitted.method)
    if fitted.probe is not None:
        records[PROBE] = fitted.probe
    if fitted.refit is not None:
        estimator, sample = fitted.refit
        with suppress(InputError):  # too few prompts for halves, not for a fit
            records[AGREEMENT] = fit_agreement(sample, estimator, seed=bench.study.seed)
        tick(1)
    return records


def _edited(
    bench: Bench, fitted: Fitted, calibrations: Sequence[Calibration], tick: Progress
) -> Records:
    """What the directions do in edits: removal, induction, and both at a damage budget."""
    sizes = bench.size(EstimatorSizes)
    pairs = compared_pairs(bench, _most_pairs(bench))
    refuse, comply = pairs.only(label="refuse"), pairs.only(label="comply")
    added = [Add(d, strength=STEERED_AT) for d in fitted.pooled]
    on_refuse: list[tuple[str, Edits]] = [(ABLATION, _in_turn(_ablations(fitted), len(refuse)))]
    on_comply: list[tuple[str, Edits]] = [(ADDITION, _in_turn(added, len(comply)))]
    if left := _left_out(fitted, refuse.categories):
        on_refuse.append((WITHOUT, [Ablate(left[p.category]) for p in refuse]))
    if damage := _at_budget(fitted, calibrations):
        on_refuse.append((DAMAGE, _in_turn(damage, len(refuse))))
        on_comply.append((DAMAGE, _in_turn(damage, len(comply))))
    answers = [
        answer_under(bench.model, side, conditions, decoding=sizes.decoding, progress=tick).judge(
            bench.judge
        )
        for side, conditions in ((refuse, on_refuse), (comply, on_comply))
    ]
    costs = _costs(bench, fitted, calibrations[0].strength)
    tick(1)
    return {ABLATED: answers[0], ADDED: answers[1], COSTS: costs}


def _calibrations(bench: Bench, fitted: Fitted, tick: Progress) -> list[Calibration]:
    """Each direction's strength at the budget; of a control each draw's own."""
    sizes = bench.size(EstimatorSizes)
    benign = bench.spread(bench.train, "comply", sizes.damage_prompts)
    each: list[Calibration] = []
    for direction in fitted.pooled:
        each.append(direction.calibrate(bench.model, benign, kl=sizes.damage_kl))
        tick(1)
    return each


def _left_out(fitted: Fitted, categories: Sequence[str]) -> dict[str, Direction]:
    """For each category a direction that was fitted without it; none where none were fitted.

    Of a category that the fit had no prompts of that is the pooled direction.
    """
    if not fitted.without:
        return {}
    return {c: fitted.without.get(c, fitted.pooled[0]) for c in categories}


def _at_budget(fitted: Fitted, calibrations: Sequence[Calibration]) -> list[Edit]:
    """Additions that do the damage budget; a draw that never reaches it takes no turn."""
    return [
        Add(direction, strength=calibration.strength)
        for direction, calibration in zip(fitted.pooled, calibrations, strict=True)
        if calibration.strength is not None
    ]


def _ablations(fitted: Fitted) -> list[Edit]:
    return [AblateSubspace(fitted.basis)] if fitted.basis else [Ablate(d) for d in fitted.pooled]


def _in_turn(edits: Sequence[Edit], n: int) -> list[Edit | None]:
    """One edit for each of n prompts: the draws of a control take turns."""
    return [edits[i % len(edits)] for i in range(n)]


def _costs(bench: Bench, fitted: Fitted, strength: float | None) -> Costs:
    sizes = bench.size(EstimatorSizes)
    test = bench.prompts.only(split="test")
    material = CostMaterial(
        bench.spread(test, "comply", sizes.estimator_cost_prompts),
        bench.judge,
        Decoding(sizes.estimator_cost_tokens),
        windows=sizes.estimator_cost_windows,
    )
    edits: dict[str, Edit] = {ABLATION: _ablations(fitted)[0]}
    if strength is not None:
        edits[DAMAGE] = Add(fitted.pooled[0], strength=strength)
    return measure_costs(bench.model, material, edits)


def _transfer(bench: Bench, fitted: Fitted) -> Transfer:
    """The directions' separation of test prompts, by what the model did with them or as intended.

    Each category's direction is a row, after the pooled one; of a control the first draw.
    """
    first = fitted.pooled[0]
    held_out = bench.once("held-out residuals", lambda: _held_out(bench, first))
    rows = [replace(first, category="pooled"), *_defined(fitted.categories)]
    without = _left_out(fitted, held_out.labelled.categories)
    return measure_transfer(held_out, rows, without=without, seed=bench.study.seed)


def _held_out(bench: Bench, like: Direction) -> Residuals:
    pairs = compared_pairs(bench, bench.size(EstimatorSizes).estimator_held_out)
    resid = bench.model.residuals(pairs, sites=(like.site,), offsets=(like.offset,))
    if bench.study.fitted_on == "intended":
        return resid
    refused = bench.results.get(UNEDITED).refused()
    return resid.only(prompts=contrast_prompts(pairs, refused, BOTH, least=1))


def _defined(directions: DirectionSet | None) -> list[Direction]:
    if directions is None:
        return []
    each: list[Direction] = []
    for category in directions.categories:
        try:
            each.append(directions.at_site(category, directions.sites[0], directions.offsets[0]))
        except InputError:  # undefined
            continue
    return each


def _most_pairs(bench: Outline) -> int:
    """No more than have been answered unedited."""
    sizes = bench.size(EstimatorSizes)
    return min(sizes.estimator_pairs, sizes.estimator_held_out)


def _work(bench: Outline, *, one: Compared) -> Work:
    pairs = compared_prompts(bench, _most_pairs(bench))
    answers = [(name, p) for p in pairs for name in _READ[p.label]]
    beside = (*bench.prompts.categories, "agreement", "costs")
    tokens = bench.size(EstimatorSizes).estimator_tokens
    return Work.over([*answers, *beside, *range(one.counts)], 2, tokens)


def stage_of(one: Compared) -> str:
    """The name of its stage."""
    return f"estimator_{one.name}".replace(": ", "_").replace(" ", "_").replace("-", "_")


def _stage(one: Compared) -> Stage:
    return Stage(
        stage_of(one),
        f"{one.kind}: {one.name.removeprefix('control: ').replace('_', ' ')}",
        run=partial(estimate, one=one),
        work=partial(_work, one=one),
        writes=WRITES,
        needs=("behaviour", "directions", "geometry", "estimator_prompts"),
        after=("contrasts", "selection"),
        uses=(FitSizes, EstimatorSizes),
        plan="estimators",
        family="estimators",
        place=400,
    )


STAGES: Final = tuple(_stage(one) for one in compared())

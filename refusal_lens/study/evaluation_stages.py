"""The stages that evaluate edits: at matched refusal, by cost, by other rules and judges."""

from dataclasses import replace

import torch

from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.errors import InputError
from refusal_lens.evaluation import (
    CostMaterial,
    Evaluation,
    Grid,
    Reading,
    SideBySide,
    Steered,
    evaluate,
    match_refusal,
    measure_costs,
    measure_grid,
    steer,
    whole_pairs,
)
from refusal_lens.evaluation.agreement import judges_agree, screening_agrees
from refusal_lens.evaluation.grid import Kind
from refusal_lens.evaluation.scoring import calibrate_score
from refusal_lens.interventions import Ablate, Add, Edit
from refusal_lens.judges import RefusalJudge, ScoreTrust, SubstringJudge
from refusal_lens.model import Decoding, LensModel, allow_transfer
from refusal_lens.model.forward import Progress
from refusal_lens.prompts import LABELS, PromptSet
from refusal_lens.selection import measure_separation, select_cosmic
from refusal_lens.study.fitted import POOLED, defined, direction_at, pooled_set
from refusal_lens.study.stages import (
    Bench,
    Gap,
    Records,
    half_refusing,
    own_directions,
    selection_layers,
)

RANDOM = "control: random"
SHUFFLED = "control: shuffled labels"
WITHIN = "control: within-class"
STEERED_AT = 1.0
_SPREAD_PAIRS = 10
_TRAIN_A_SIDE = 64


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
    reading = Reading(trust, RefusalJudge(), Decoding(sizes.manner_tokens))
    with allow_transfer():  # the study's own directions, at another scale of its adapter
        grid = measure_grid(model, cases, pairs, reading, strengths=sizes.strengths, progress=tick)
    if model is not bench.model:
        few = PromptSet(pairs.prompts[: 2 * (sizes.manner_pairs // 2)])
        strength = min((s for s in grid.strengths if s > 0), default=STEERED_AT)
        added = [Add(d, strength=strength) for d, kind in cases if kind == "direction"]
        with allow_transfer():
            records["read"] = steer(
                model, few, added, reading.judge, decoding=reading.decoding, progress=tick
            )
    return records | {"trade_off": grid.trade_off(), "grid": grid} | matched(bench, grid)


def compared_pairs(bench: Bench, most: int | None = None) -> PromptSet:
    """The test pairs on which directions are compared, by default as many as the trade-off takes.

    Raises:
        Gap: there are fewer than two.
    """
    test = bench.prompts.only(split="test")
    pairs = whole_pairs(test, bench.study.sizes.trade_off_pairs if most is None else most)
    if len(pairs) < 4:
        raise Gap(
            f"`test` holds {len(pairs) // 2} whole pairs, expected at least 2; give each "
            "refuse-side prompt its benign twin"
        )
    return pairs


def compared_directions(bench: Bench) -> list[tuple[Direction, Kind]]:
    """Every category's direction, the pooled one and its controls, at the chosen layer."""
    layer = bench.chosen_layer()
    pooled = direction_at(pooled_set(bench.results), POOLED, layer)
    own: list[tuple[Direction, Kind]] = [(d, "direction") for d in own_directions(bench, layer)]
    checks: list[tuple[Direction, Kind]] = [(d, "control") for d in controls(bench, pooled)]
    return [*own, (pooled, "pooled"), *checks]


def matched(bench: Bench, grid: Grid) -> Records:
    """The comparison at equal refusal; nothing where too few pairs have a verdict everywhere."""
    try:
        return {"matched": match_refusal(grid, seed=bench.study.seed)}
    except InputError:
        return {}


def _calibrated(bench: Bench, model: LensModel, trust: ScoreTrust) -> ScoreTrust:
    """The scores for another scale, by the answers that the contrasts read there, if they did.

    Where nothing was refused there, or all of it, no score can be trusted.
    """
    prompts = bench.split("train", bench.study.sizes.contrast_pairs)
    read = None
    if bench.results.has("contrasts", "behaviour"):
        read = bench.results.get("contrasts", "behaviour", Evaluation)
    if read is None or read.provenance.model_digest != model.digest:
        decoding = Decoding(bench.study.sizes.behaviour_tokens)
        read = evaluate(model, prompts, RefusalJudge(), decoding=decoding)
    try:
        return calibrate_score(model, prompts, read, trust)
    except InputError:
        untrusted = dict.fromkeys(trust.mode, "generation only")
        return replace(trust, mode=untrusted, threshold={}, openings={}, auroc={}, opening_auroc={})


def costs(bench: Bench, tick: Progress) -> Records:
    """What ablating and adding each direction costs, beside a random one's."""
    sizes, layer = bench.study.sizes, bench.chosen_layer()
    test = bench.prompts.only(split="test")
    material = CostMaterial(
        bench.spread(test, "comply", sizes.cost_prompts),
        RefusalJudge(),
        Decoding(sizes.cost_tokens),
        windows=sizes.cost_windows,
    )
    pooled = direction_at(pooled_set(bench.results), POOLED, layer)
    edits: dict[str, Edit] = {}
    own = own_directions(bench, layer)[: sizes.cost_categories]
    for d in (pooled, *own, pooled.random_like(bench.study.seed)):
        edits[f"{d.category} | ablated"] = Ablate(d)
        edits[f"{d.category} | added"] = Add(d, strength=STEERED_AT)
    return {"costs": measure_costs(bench.model, material, edits, progress=tick)}


def rules(bench: Bench, tick: Progress) -> Records:
    """The layer by COSMIC's rule and the layer that separates best, among the same candidates."""
    n = bench.study.sizes.selection_prompts
    pooled = pooled_set(bench.results)
    offsets = pooled.offsets if bench.study.sizes.all_offsets else (-1,)
    candidates = defined(pooled, selection_layers(bench), offsets)
    val = bench.prompts.only(split="val")
    train = [bench.spread(bench.train, label, _TRAIN_A_SIDE) for label in LABELS]
    held = [bench.spread(val, label, n) for label in LABELS]
    try:
        found = select_cosmic(
            bench.model,
            candidates,
            train=(train[0], train[1]),
            val=(held[0], held[1]),
            progress=tick,
        )
        separation = measure_separation(bench.model, candidates, held[0], held[1])
    except InputError as error:
        raise Gap(str(error)) from None
    return {"cosmic": found, "separation": separation}


def agreements(bench: Bench, tick: Progress) -> Records:
    """Whether the phrase and the substring judge agree, and scores with read answers."""
    results, other = bench.results, SubstringJudge()
    text = {p.id: p.text for p in bench.prompts}
    records: Records = {}
    for stage, name in (("behaviour", "train"), ("score", "val")):
        if results.has(stage, name):
            read = results.get(stage, name, Evaluation)
            records[stage] = judges_agree(read, [text[i] for i in read.ids], other)
    if results.has("answers", "answers"):
        shown = results.get("answers", "answers", SideBySide)
        records["answers"] = judges_agree(shown.conditions[-1], shown.texts, other)
    if results.has("manners", "steered"):
        steered = results.get("manners", "steered", Steered)
        records["manners"] = judges_agree(steered, steered.texts, other)
    if results.has("trade_off", "grid"):
        grid = results.get("trade_off", "grid", Grid)
        stage, name = ("trade_off", "read")  # of another model than the study's, where it is
        if not results.has(stage, name):
            stage, name = ("manners", "steered")
        if results.has(stage, name) and not bool(grid.generated.all()):
            records["screening"] = screening_agrees(grid, results.get(stage, name, Steered))
    tick(1)
    return records


def controls(bench: Bench, like: Direction) -> tuple[Direction, ...]:
    """Random, of shuffled labels, and drawn from the within-class covariance; of equal length."""
    found = bench.results.get("geometry", "shuffled", DirectionSet)
    shuffled = found.at_site("pooled", like.site, like.offset).vector
    within = _within_class(bench, like)
    return (
        like.random_like(bench.study.seed),
        _of_length(shuffled, like, SHUFFLED),
        _of_length(within, like, WITHIN),
    )


def _within_class(bench: Bench, like: Direction) -> torch.Tensor:
    """One draw from the covariance of prompts around the mean of their category and side.

    A sum of the centred residuals with standard normal weights has just that covariance, up to its
    length.
    """
    prompts = bench.split("train", _SPREAD_PAIRS)
    read = bench.model.residuals(prompts, sites=(like.site,), offsets=(like.offset,))
    resid = read.at(like.site, like.offset)
    generator = torch.Generator().manual_seed(bench.study.seed + 1)
    total = torch.zeros_like(resid[0])
    for category in prompts.categories:
        for label in LABELS:
            rows = [i for i, p in enumerate(prompts) if (p.category, p.label) == (category, label)]
            own = resid[rows]
            total += torch.randn(len(rows), generator=generator) @ (own - own.mean(0))
    return total


def _of_length(vector: torch.Tensor, like: Direction, name: str) -> Direction:
    scaled = vector / vector.norm() * like.scale
    return Direction.from_difference(
        scaled, category=name, site=like.site, offset=like.offset, provenance=like.provenance
    )

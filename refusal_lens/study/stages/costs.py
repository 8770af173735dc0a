"""What edits cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from refusal_lens.evaluation import UNEDITED, CostMaterial, Costs, measure_costs
from refusal_lens.interventions import Ablate, Add, Edit
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.study.compared import RANDOM, STEERED_AT
from refusal_lens.study.fitted import POOLED, direction_at, pooled_set
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.sizes import ALL, StageSizes, size
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work, category_directions

COSTS: Final = Key("costs", "costs", Costs)


@final
@dataclass(frozen=True)
class CostSizes(StageSizes):
    """Benign prompts, tokens of their answers, windows of ordinary text, and categories."""

    cost_prompts: int = size(12, full=44, quick=3)
    cost_tokens: int = size(16, full=48, quick=12)
    cost_windows: int = size(6, quick=2)
    cost_categories: int = size(ALL, quick=1)


def costs(bench: Bench, tick: Progress) -> Records:
    """What ablating and adding each direction costs, beside a random one's."""
    sizes, layer = bench.size(CostSizes), chosen_layer(bench.results)
    test = bench.prompts.only(split="test")
    material = CostMaterial(
        bench.spread(test, "comply", sizes.cost_prompts),
        bench.judge,
        Decoding(sizes.cost_tokens),
        windows=sizes.cost_windows,
    )
    pooled = direction_at(pooled_set(bench.results), POOLED, layer)
    directions = {d.category: d for d in category_directions(bench, layer)}
    edited = directions | {POOLED: pooled, RANDOM: pooled.random_like(bench.study.seed)}
    edits: dict[str, Edit] = {
        f"{name} | {edit}": Ablate(edited[name])
        if edit == "ablated"
        else Add(edited[name], strength=STEERED_AT)
        for name, edit in _conditions(bench, tuple(directions))
    }
    return {COSTS: measure_costs(bench.model, material, edits, progress=tick)}


def _conditions(bench: Outline, categories: Sequence[str]) -> list[tuple[str, str]]:
    """Direction and edit of each row but the unedited one: of the pooled direction, of some of
    these categories, and of a random direction of the pooled one's length."""
    chosen = categories[: bench.size(CostSizes).cost_categories]
    return [(name, edit) for name in (POOLED, *chosen, RANDOM) for edit in ("ablated", "added")]


def _work(bench: Outline) -> Work:
    sizes = bench.size(CostSizes)
    # Twice the windows of text, of about three prompts' length; the prompts and the answers.
    passes = 6 * sizes.cost_windows + 4 * sizes.cost_prompts
    tokens = sizes.cost_prompts * sizes.cost_tokens
    conditions = [(UNEDITED, "none"), *_conditions(bench, bench.prompts.categories)]
    return Work.over(conditions, passes, tokens)


STAGE: Final = Stage(
    "costs",
    "what edits cost",
    run=costs,
    work=_work,
    writes=(COSTS,),
    needs=("directions", "geometry"),
    after=("contrasts", "selection"),
    uses=(CostSizes,),
    place=140,
)

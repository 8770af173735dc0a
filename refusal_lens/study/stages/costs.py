"""What edits cost."""

from typing import Final

from refusal_lens.evaluation import CostMaterial, Costs, measure_costs
from refusal_lens.interventions import Ablate, Add, Edit
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.study.compared import STEERED_AT
from refusal_lens.study.fitted import POOLED, direction_at, pooled_set
from refusal_lens.study.stage import TOKEN, Bench, Records, Stage, own_directions


def costs(bench: Bench, tick: Progress) -> Records:
    """What ablating and adding each direction costs, beside a random one's."""
    sizes, layer = bench.study.sizes, bench.chosen_layer()
    test = bench.prompts.only(split="test")
    material = CostMaterial(
        bench.spread(test, "comply", sizes.cost_prompts),
        bench.judge,
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


def _n_costs(bench: Bench) -> int:
    own = min(len(bench.prompts.categories), bench.study.sizes.cost_categories)
    return 1 + 2 * (own + 2)


STAGE: Final = Stage(
    "costs",
    "what edits cost",
    ("directions", "geometry"),
    (Costs,),
    costs,
    _n_costs,
    # Twice the windows of text, of about three prompts' length; the prompts and the answers.
    lambda b: (
        6 * b.study.sizes.cost_windows
        + b.study.sizes.cost_prompts * (4 + TOKEN * b.study.sizes.cost_tokens)
    ),
    after=("contrasts", "selection"),
)

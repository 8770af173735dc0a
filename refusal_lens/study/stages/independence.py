"""Representational independence between the categories' directions: one ablated, another read."""

from dataclasses import dataclass
from typing import Final, final

from refusal_lens.optimised import Independence, representational_independence
from refusal_lens.progress import Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.study.fitted import FitSizes, Gap, at_layer, category_set
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.sizes import StageSizes, size
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work

INDEPENDENCE: Final = Key("independence", "independence", Independence)


@final
@dataclass(frozen=True)
class IndependenceSizes(StageSizes):
    """Test prompts of the refuse side that are read with each direction ablated in turn, and the
    random directions that are ablated for comparison."""

    independence_prompts: int = size(44, full=165, quick=11)
    independence_controls: int = size(8, quick=3)


def independence(bench: Bench, tick: Progress) -> Records:
    """How cosines with each category's direction change when another one's is ablated."""
    directions = at_layer(category_set(bench.results), chosen_layer(bench.results))
    if len(directions) < 2:
        raise Gap(
            f"independence is between two directions; {len(directions)} is defined at the chosen "
            "layer"
        )
    prompts = _prompts(bench)
    measured = representational_independence(
        bench.model,
        prompts,
        directions,
        n_controls=bench.size(IndependenceSizes).independence_controls,
        seed=bench.study.seed,
        progress=lambda n: tick(n * len(prompts)),
    )
    return {INDEPENDENCE: measured}


def _prompts(bench: Outline) -> PromptSet:
    n = bench.size(IndependenceSizes).independence_prompts
    return bench.spread(bench.prompts.only(split="test"), "refuse", n)


def _work(bench: Outline) -> Work:
    controls = bench.size(IndependenceSizes).independence_controls
    return Work(len(_prompts(bench)) * (1 + len(bench.prompts.categories) + controls))


STAGE: Final = Stage(
    "independence",
    "cosines with one direction while another is ablated",
    run=independence,
    work=_work,
    writes=(INDEPENDENCE,),
    needs=("directions", "geometry"),
    after=("selection", "contrasts"),
    uses=(FitSizes, IndependenceSizes),
    plan="estimators",
    place=405,
)

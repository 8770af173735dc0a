"""The refusal score by layer, under ablation and under addition."""

from typing import Final

from refusal_lens.progress import Progress
from refusal_lens.selection import LayerCurve, score_candidates
from refusal_lens.study.fitted import defined, pooled_set
from refusal_lens.study.scored import asked, trust_of
from refusal_lens.study.stage import Bench, Records, Stage


def curve_layers(bench: Bench) -> tuple[int, ...]:
    """Layers of the curves, the last ones included."""
    return bench.study.layers_of(bench.model.n_layers, bench.study.sizes.curve_layers)


def layers(bench: Bench, tick: Progress) -> Records:
    """The refusal score by layer, under ablation and under addition."""
    sizes = bench.study.sizes
    pooled = pooled_set(bench.results)
    found = score_candidates(
        bench.model,
        defined(pooled, curve_layers(bench), (-1,)),
        trust_of(bench),
        harmful=asked(bench, "refuse", sizes.curve_prompts),
        harmless=asked(bench, "comply", sizes.curve_prompts),
        progress=tick,
    )
    return {"curve": LayerCurve("pooled", found)}


STAGE: Final = Stage(
    "layers",
    "refusal score by layer (pooled)",
    ("directions", "score"),
    (LayerCurve,),
    layers,
    lambda b: len(curve_layers(b)),
    lambda b: 3 * b.study.sizes.curve_prompts,
    after=("contrasts",),
)

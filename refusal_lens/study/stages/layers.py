"""The refusal score by layer, under ablation and under addition."""

from dataclasses import dataclass
from typing import Final, final

from refusal_lens.progress import Progress
from refusal_lens.selection import LayerCurve, score_candidates
from refusal_lens.study.fitted import defined, pooled_set
from refusal_lens.study.key import Key
from refusal_lens.study.scored import asked, trust_of
from refusal_lens.study.sizes import ALL, StageSizes, size
from refusal_lens.study.stage import Bench, Records, Stage, Work

CURVE: Final = Key("layers", "curve", LayerCurve)


@final
@dataclass(frozen=True)
class CurveSizes(StageSizes):
    """Layers of the score curves, and held-out prompts of each side."""

    curve_prompts: int = size(24, full=64, quick=6)
    curve_layers: int = size(15, full=ALL, quick=4)


def _places(bench: Bench) -> tuple[tuple[int, int], ...]:
    """Layers of the curves, the last ones included, at the last token."""
    layers = bench.study.layers_of(bench.model.n_layers, bench.size(CurveSizes).curve_layers)
    return tuple((layer, -1) for layer in layers)


def layers(bench: Bench, tick: Progress) -> Records:
    """The refusal score by layer, under ablation and under addition."""
    n = bench.size(CurveSizes).curve_prompts
    found = score_candidates(
        bench.model,
        defined(pooled_set(bench.results), _places(bench)),
        trust_of(bench),
        harmful=asked(bench, "refuse", n),
        harmless=asked(bench, "comply", n),
        progress=tick,
    )
    return {CURVE: LayerCurve("pooled", found)}


STAGE: Final = Stage(
    "layers",
    "refusal score by layer (pooled)",
    run=layers,
    work=lambda b: Work.over(_places(b), 3 * b.size(CurveSizes).curve_prompts),
    writes=(CURVE,),
    needs=("directions", "score"),
    after=("contrasts",),
    uses=(CurveSizes,),
    place=80,
)

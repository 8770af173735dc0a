"""The refusal score by layer, under ablation and under addition."""

from dataclasses import dataclass
from typing import Final, final

from refusal_lens.progress import Progress
from refusal_lens.selection import LayerCurve
from refusal_lens.study.key import Key
from refusal_lens.study.scored import pooled_scores
from refusal_lens.study.sizes import ALL, StageSizes, size
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work

CURVE: Final = Key("layers", "curve", LayerCurve)


@final
@dataclass(frozen=True)
class CurveSizes(StageSizes):
    """Layers of the score curves, and held-out prompts of each side."""

    curve_prompts: int = size(24, full=64, quick=6)
    curve_layers: int = size(15, full=ALL, quick=4)


def _places(bench: Outline) -> tuple[tuple[int, int], ...]:
    """Layers of the curves, the last ones included, at the last token."""
    layers = bench.study.layers_of(bench.shape.n_layers, bench.size(CurveSizes).curve_layers)
    return tuple((layer, -1) for layer in layers)


def layers(bench: Bench, tick: Progress) -> Records:
    """The refusal score by layer, under ablation and under addition."""
    scores = pooled_scores(bench, _places(bench), bench.size(CurveSizes).curve_prompts, tick)
    return {CURVE: LayerCurve("pooled", scores)}


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

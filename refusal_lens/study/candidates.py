"""The candidates among which a layer is chosen, and the held-out prompts that they are tried on."""

from dataclasses import dataclass
from typing import final

from refusal_lens.selection import eligible_layers
from refusal_lens.study.outline import Outline
from refusal_lens.study.sizes import ALL, StageSizes, size


@final
@dataclass(frozen=True)
class CandidateSizes(StageSizes):
    """How many layers may be chosen, at one offset or all, and held-out prompts of each side."""

    selection_prompts: int = size(32, full=64, quick=8)
    selection_layers: int = size(7, full=ALL, quick=4)
    all_offsets: bool = size(False, full=True)


def candidate_places(bench: Outline) -> tuple[tuple[int, int], ...]:
    """Layers and offsets that can be chosen, where any of them was asked for."""
    sizes, n = bench.size(CandidateSizes), bench.shape.n_layers
    layers = bench.study.layers_of(n, sizes.selection_layers, eligible_layers(n))
    offsets = bench.shape.offsets if sizes.all_offsets else (-1,)
    return tuple((layer, offset) for layer in layers for offset in offsets)

"""The candidates among which a layer is chosen."""

from refusal_lens.selection import eligible_layers
from refusal_lens.study.stage import Bench


def selection_layers(bench: Bench) -> tuple[int, ...]:
    """Layers of the candidates: those that can be chosen, where any of them was asked for."""
    n = bench.model.n_layers
    return bench.study.layers_of(n, bench.study.sizes.selection_layers, eligible_layers(n))

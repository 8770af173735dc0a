"""Training of many probes at once, on the whole data at every step."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.directions.invariance.objective import InvarianceObjective, PenaltyWeights, Probes
from refusal_lens.directions.invariance.recipe import Config, InvarianceRecipe


def train(
    objective: InvarianceObjective,
    configs: Sequence[Config],
    seeds: Sequence[int],
    recipe: InvarianceRecipe,
) -> Float64[Tensor, "config seed component_and_one"]:
    """The probe of each configuration and seed: Adam, with penalty and bottleneck annealed.

    Up to `recipe.warm_up` the penalty weighs 1 where it is on and there is no bottleneck: then
    configurations that differ in nothing else are one, and are trained once. Then they take their
    own weights, and Adam starts anew. Without both, the objective is the same all along.
    """
    early = [replace(c, penalty=float(c.penalty > 0), bottleneck=0.0) for c in configs]
    begun = list(dict.fromkeys(early))
    first = torch.stack([_first(objective.z.shape[1], seed) for seed in seeds])
    w = _descend(objective, begun, first.repeat(len(begun), 1, 1), recipe, recipe.warm_up)
    w = w[[begun.index(c) for c in early]]
    return _descend(objective, configs, w, recipe, recipe.steps - recipe.warm_up)


def _descend(
    objective: InvarianceObjective,
    configs: Sequence[Config],
    first: Float64[Tensor, "config seed component_and_one"],
    recipe: InvarianceRecipe,
    steps: int,
) -> Float64[Tensor, "config seed component_and_one"]:
    """Steps of Adam, which begins here."""
    w: Probes = first.flatten(0, 1).clone()
    weights = PenaltyWeights.of([c for c in configs for _ in range(first.shape[1])])
    adam = torch.optim.Adam([w], lr=recipe.learning_rate)
    with torch.no_grad():
        for _ in range(steps):
            w.grad = objective.gradient(w, weights)
            adam.step()
    w.grad = None
    return w.view(first.shape)


def _first(width: int, seed: int) -> Float64[Tensor, " component_and_one"]:
    """First weights as those of a linear layer: uniform within 1 / sqrt(components)."""
    random = torch.Generator().manual_seed(seed)
    drawn = torch.rand(width, generator=random, dtype=torch.float64)
    return (2 * drawn - 1) / max(1, width - 1) ** 0.5

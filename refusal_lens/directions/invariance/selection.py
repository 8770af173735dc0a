"""Leave-one-environment-out selection of a configuration, within the training environments.

The environment on which a probe is tested in the end ("outer") is in no fit and no choice: each
configuration is fitted without it and without one of the others, which says how good it is. Two
environments left out are one fit, whichever of them is the outer one. Choosing by the outer
environment itself is the "oracle", an upper bound and no result.
"""

from collections.abc import Sequence
from functools import partial
from typing import final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.auroc import aurocs
from refusal_lens.directions.invariance.environments import EnvironmentData
from refusal_lens.directions.invariance.features import FeatureBasis
from refusal_lens.directions.invariance.objective import InvarianceObjective
from refusal_lens.directions.invariance.recipe import (
    METHODS,
    Config,
    InvarianceRecipe,
    Principle,
)
from refusal_lens.directions.invariance.training import train
from refusal_lens.progress import NO_PROGRESS, Progress

Scores = Float64[Tensor, "score config"]
"""AUROC and balanced risk (nats), means over the seeds of the search."""


@final
class Search:
    """The whole grid, fitted without some environments and scored on them; each fit once."""

    def __init__(
        self, data: EnvironmentData, recipe: InvarianceRecipe, progress: Progress = NO_PROGRESS
    ) -> None:
        self.data, self.recipe, self._progress = data, recipe, progress
        self._scores: dict[frozenset[int], dict[int, Scores]] = {}

    def scores(self, left_out: frozenset[int]) -> dict[int, Scores]:
        """By environment that is left out, how good each configuration of the grid is on it."""
        if left_out not in self._scores:
            r = self.recipe
            seeds = r.seeds[: r.selection_seeds]
            basis, w = fit(self.data.without(left_out), r.grid, seeds, r)
            score = partial(_scores_on, basis, w)
            self._scores[left_out] = {e: score(self.data.one(e)) for e in sorted(left_out)}
            self._progress(1)
        return self._scores[left_out]

    def chosen(self, without: Sequence[int]) -> dict[Principle, Config]:
        """The configuration of each method, chosen without these environments.

        The highest AUROC, a mean over the other environments, each left out in turn; where several
        have it, the lowest risk.
        """
        training = [e for e in range(len(self.data.names)) if e not in without]
        held_out = [self.scores(frozenset({*without, e}))[e] for e in training]
        mean = torch.stack(held_out).mean(0)
        return {m: self.recipe.grid[self._best(mean, m)] for m in METHODS}

    def oracle(self, environment: int) -> dict[Principle, float]:
        """The AUROC on an environment of the configuration that has the highest one there."""
        scores = self.scores(frozenset({environment}))[environment]
        return {m: float(scores[0, self._best(scores, m)]) for m in METHODS}

    def _best(self, scores: Scores, method: Principle) -> int:
        which = [i for i, c in enumerate(self.recipe.grid) if c.method == method]
        return min(which, key=lambda i: (-round(float(scores[0, i]), 9), float(scores[1, i])))


def fit(
    data: EnvironmentData,
    configs: Sequence[Config],
    seeds: Sequence[int],
    recipe: InvarianceRecipe,
) -> tuple[FeatureBasis, Float64[Tensor, "config seed component_and_one"]]:
    """The probes of these configurations and seeds, and the features that they read."""
    basis = FeatureBasis.of(data, recipe.components)
    return basis, train(InvarianceObjective(basis, data, recipe.bottleneck), configs, seeds, recipe)


def _scores_on(
    basis: FeatureBasis, w: Float64[Tensor, "config seed component_and_one"], data: EnvironmentData
) -> Scores:
    logits = w.flatten(0, 1) @ basis(data.x).mT
    losses = torch.nn.functional.softplus(logits) - data.refused.double() * logits
    by_seed = torch.stack([aurocs(logits, data.refused), losses @ data.weights()])
    return by_seed.view(2, *w.shape[:2]).mean(2)

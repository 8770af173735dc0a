"""Layers ranked by how a direction's coordinate correlates with how surely the model refused.

The layer ranking of Refusal Steering (arXiv 2512.16602; formulas as in ElSnacko/llm-steering): the
absolute Pearson correlation, over prompts, of x . r with the confidence c in [-1, 1]. It reads and
does not intervene: the layer that correlates best need not be the one that acts best
(`selection.separation` says more on that).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.directions import NOISE_FLOOR, Direction, several_directions
from refusal_lens.directions.weighted_ridge_mean_difference import check_confidence
from refusal_lens.errors import InputError
from refusal_lens.intervals import TAILS
from refusal_lens.records import Estimate, Record
from refusal_lens.residuals import Residuals
from refusal_lens.sites import Site

_DRAWS: Final = 1000
_LEAST: Final = 5  # prompts
_METHOD: Final = (
    "Pearson correlation, percentile bootstrap over pairs; control: mean |r| at this place with "
    "confidences shuffled over prompts"
)


@final
@dataclass(frozen=True)
class Correlation:
    """The correlation of a direction's coordinate with the confidence, where it was fitted."""

    category: str
    site: Site
    offset: int
    pearson: Estimate


@final
@dataclass(frozen=True)
class ConfidenceCorrelations(Record):
    """The correlation at each direction's place, in the order given, and their ranking.

    `ranked` holds indices, largest |r| first; directions without a correlation (a constant
    coordinate) come last. `largest_by_chance` is the 95% quantile of the largest |r| over all
    places with the confidences shuffled: a smaller
    maximum is no evidence for any layer.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    places: tuple[Correlation, ...]
    ranked: tuple[int, ...]
    largest_by_chance: float

    @property
    def best(self) -> Correlation:
        """The place with the largest |r|."""
        return self.places[self.ranked[0]]


def rank_layers(
    residuals: Residuals,
    directions: Sequence[Direction],
    confidence: Mapping[str, float],
    *,
    seed: int = 0,
) -> ConfidenceCorrelations:
    """The places of directions, ranked by |Pearson| of their coordinate with the confidence.

    `residuals` should be of prompts that no direction was fitted on; `confidence` maps the id of
    each to c (`judges.confidences`). Every prompt counts, neutral ones too. Intervals resample
    pairs, whose prompts are alike.

    >>> test = prompts.only(split="test")
    >>> confidence = {p.id: 1.0 if p.label == "refuse" else -1.0 for p in test}
    >>> layers = [directions["advice", layer] for layer in (1, 2)]
    >>> ranking = rank_layers(model.residuals(test), layers, confidence)
    >>> sorted(ranking.ranked), ranking.places[0].pearson.n
    ([0, 1], 12)

    Raises:
        InputError: no direction, fewer than five prompts, confidences that are all the same, a
            prompt without one, or a place that was not read.
    """
    directions = several_directions(directions)
    prompts = residuals.labelled
    c = torch.tensor(list(check_confidence(prompts, confidence).values()), dtype=torch.float64)
    if not directions or len(c) < _LEAST:
        raise InputError(
            f"{len(directions)} directions and {len(c)} prompts can't be ranked; give at least one "
            f"direction and {_LEAST} prompts"
        )
    if bool((c == c[0]).all()):
        raise InputError(
            f"all {len(c)} prompts have the confidence {float(c[0]):g}: nothing can correlate with "
            "it; give prompts of which the model refuses some"
        )
    coordinates = torch.stack(
        [residuals.at(d.site, d.offset).double() @ d.vector.double() for d in directions], 1
    )
    rng = np.random.default_rng(seed)
    x = coordinates - coordinates.mean(0)
    # A coordinate that varies by rounding alone (layer 0 on template tokens) has no correlation.
    x[:, x.norm(dim=0) <= NOISE_FLOOR * coordinates.norm(dim=0)] = torch.nan
    c = c - c.mean()
    once = torch.ones(1, len(c), dtype=torch.float64)
    drawn = _pearson(x, c, _resampled([p.unit for p in prompts], rng))
    shuffled = torch.stack([c[torch.from_numpy(rng.permutation(len(c)))] for _ in range(_DRAWS)])
    by_chance = (shuffled @ x / (x.norm(dim=0) * c.norm())).abs()
    estimates = _estimates(_pearson(x, c, once)[0], drawn, by_chance, len(c))
    places = tuple(
        Correlation(d.category, d.site, d.offset, estimate)
        for d, estimate in zip(directions, estimates, strict=True)
    )
    sizes = [abs(e.value) if e.value is not None else -1.0 for e in estimates]
    ranked = tuple(sorted(range(len(sizes)), key=lambda i: -sizes[i]))
    largest = by_chance.nan_to_num(0.0).amax(1).quantile(0.95)
    return ConfidenceCorrelations(places, ranked, float(largest))


def _resampled(
    units: Sequence[tuple[str, str]], rng: np.random.Generator
) -> Float64[Tensor, "draw prompt"]:
    """How often each prompt is drawn where pairs are drawn with replacement."""
    index = {unit: i for i, unit in enumerate(dict.fromkeys(units))}
    n = len(index)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=_DRAWS)
    return torch.from_numpy(counts[:, [index[unit] for unit in units]]).double()


def _pearson(
    x: Float64[Tensor, "prompt place"],
    c: Float64[Tensor, " prompt"],
    weight: Float64[Tensor, "draw prompt"],
) -> Float64[Tensor, "draw place"]:
    """Correlations with weighted prompts; NaN where one of the two doesn't vary."""
    share = weight / weight.sum(1, keepdim=True)
    mean_x, mean_c = share @ x, (share @ c)[:, None]
    covariance = share @ (x * c[:, None]) - mean_x * mean_c
    variance = (share @ x.square() - mean_x**2) * ((share @ c.square())[:, None] - mean_c**2)
    return covariance / torch.where(variance > 0, variance, torch.nan).sqrt()


def _estimates(
    value: Float64[Tensor, " place"],
    drawn: Float64[Tensor, "draw place"],
    by_chance: Float64[Tensor, "draw place"],
    n: int,
) -> list[Estimate]:
    """The correlation of each place with its interval and control."""
    limits = torch.tensor(TAILS, dtype=torch.float64)
    estimates: list[Estimate] = []
    for i, r in enumerate(value.tolist()):
        if math.isnan(r):
            estimates.append(Estimate(None, None, None, n, _METHOD, None))
            continue
        low, high = drawn[:, i].nanquantile(limits).tolist()
        estimates.append(Estimate(r, low, high, n, _METHOD, float(by_chance[:, i].mean())))
    return estimates

"""Where an ablation is fitted: the layer at which it removes most refusal at little damage."""

from collections.abc import Sequence
from typing import Final

import torch

from refusal_lens.directions import make_estimator
from refusal_lens.errors import InputError
from refusal_lens.evaluation.scoring import refusal_scores
from refusal_lens.intervals import mean_estimate
from refusal_lens.interventions import Ablate
from refusal_lens.judges import ScoreTrust
from refusal_lens.linalg import kl_at_last_token
from refusal_lens.model import LensModel
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate
from refusal_lens.selection import Selection
from refusal_lens.sites import Site

MOST_KL: Final = 1.0
"""Nats of damage to benign prompts' next token that the choice of a layer allows."""

Tried = tuple[int, Estimate, Estimate]
"""A layer, the mean refusal score of harmful prompts under ablation there, and the mean KL."""


def weakest_layer(tried: Sequence[Tried], most_kl: float = MOST_KL) -> int:
    """The layer whose ablation leaves the lowest score at no more than `most_kl` nats.

    Where every layer does more damage, the one that does least. The rule of a model's study weighs
    addition as well, which an attack by ablation doesn't need.

    >>> from refusal_lens.intervals import mean_estimate
    >>> gentle = 12, mean_estimate([-1.4, -1.6]), mean_estimate([0.2, 0.3])
    >>> harsh = 23, mean_estimate([-3.6, -3.8]), mean_estimate([3.9, 4.1])
    >>> weakest_layer([gentle, harsh])
    12

    Raises:
        InputError: no layer was tried.
    """
    if not tried:
        raise InputError("no layer was tried; give candidate layers")

    def damage(one: Tried) -> float:
        return torch.inf if one[2].value is None else one[2].value

    allowed = [one for one in tried if damage(one) <= most_kl]
    if not allowed:
        return min(tried, key=damage)[0]
    return min(allowed, key=lambda one: torch.inf if one[1].value is None else one[1].value)[0]


def layer_of_selection(selection: Selection, offset: int = -1) -> int:
    """The weakest of the layers that a study tried, at the last token."""
    tried = [(c.layer, c.ablation, c.kl) for c in selection.candidates if c.offset == offset]
    return weakest_layer(tried)


def try_layers(
    model: LensModel,
    fitting: PromptSet,
    asked: PromptSet,
    trust: ScoreTrust,
    layers: Sequence[int],
) -> list[Tried]:
    """The mean difference of each layer ablated everywhere: what is left, and what it costs."""
    sites = [Site(layer) for layer in layers]
    stats = model.residual_stats(fitting, sites=sites, offsets=(-1,))
    pooled = make_estimator("mean_difference").within_categories(stats)
    harmful, benign = asked.only(label="refuse"), asked.only(label="comply")
    plain, tried = model.logits(benign), list[Tried]()
    for layer, site in zip(layers, sites, strict=True):
        with model.editing(Ablate(pooled.at_site("pooled", site, -1))):
            score = refusal_scores(model, harmful, trust)
            kl = kl_at_last_token(plain, model.logits(benign))
        known = score[~score.isnan()].tolist()
        tried.append((layer, mean_estimate(known), mean_estimate(kl.tolist(), 0.0)))
    return tried

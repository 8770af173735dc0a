"""The weighted ridge mean difference (WRMD) of Refusal Steering (arXiv 2512.16602).

The ridge mean difference with the sides, and each prompt's weight, from a judge's confidence c in
[-1, 1] that the model refused the prompt: refused where c > .1, complied where c < -.1, otherwise
neutral and left out. A prompt weighs |c| in the mean of its side and, on the comply side, in the
covariance. Of the formulas as published in ElSnacko/llm-steering (a reimplementation) two steps are
left out because they change nothing: weights have a floor of .01, which the threshold of .1 keeps
out of reach, and the neutral prompts' mean is subtracted from all residuals first, which moves
neither a difference of means nor a covariance around its own mean.

Relation to its siblings: with c = 1 for every prompt labelled "refuse" and -1 for every other it is
the ridge mean difference, whose limits it shares; as lambda grows it becomes the difference of the
weighted means. It is no estimator of the registry: without a judge's confidences it would be the
ridge mean difference under a second name.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.directions.direction_set import DirectionSet
from refusal_lens.directions.estimator import Differences, Estimator, average_along, sets_along
from refusal_lens.directions.ridge_mean_difference import RIDGE, check_ridge, ridge_axes
from refusal_lens.errors import InputError
from refusal_lens.prompts import Label, Prompt, PromptSet
from refusal_lens.residuals import Residuals, ResidualStats, index_axes

_METHOD: Final = "weighted ridge mean difference"

NEUTRAL: Final = 0.1
"""Confidences no further from 0 are neither refused nor complied."""


def fit_weighted_ridge_mean_difference(
    residuals: Residuals, *, confidence: Mapping[str, float], ridge: float = RIDGE
) -> DirectionSet:
    """The weighted ridge mean difference by category, offset and site; see the module.

    `confidence` maps every prompt's id to c (`judges.confidences`, `judges.score_confidences`); the
    labels of the prompts aren't used. `count` holds the prompts counted as refused and as complied;
    `scale`, `low` and `high` are of the weighted means. Undefined where a side has no prompt.

    >>> from refusal_lens.directions import fit_weighted_ridge_mean_difference
    >>> confidence = {p.id: 0.8 if p.label == "refuse" else -0.6 for p in prompts}
    >>> fitted = fit_weighted_ridge_mean_difference(model.residuals(prompts), confidence=confidence)
    >>> fitted.at("advice", layer=2)
    Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32)

    Raises:
        InputError: a prompt without confidence, or with one outside [-1, 1]; nothing but neutral
            prompts; `ridge` that is not positive; residuals of plain texts.
    """
    return sets_along(*_fitted(residuals, confidence, ridge), _METHOD)


def weighted_estimator(confidence: Mapping[str, float], *, ridge: float = RIDGE) -> Estimator:
    """`fit_weighted_ridge_mean_difference` with these confidences, as an `Estimator`.

    Its direction within categories averages over the categories in which prompts were counted as
    refused and as complied.

    >>> confidence = {p.id: 0.8 if p.label == "refuse" else -0.6 for p in prompts}
    >>> estimator = rl.directions.weighted_estimator(confidence)
    >>> estimator.within_categories(model.residuals(prompts)).categories
    ('pooled',)

    Raises:
        InputError: when it is fitted, as `fit_weighted_ridge_mean_difference`.
    """

    def fit(residuals: Residuals) -> DirectionSet:
        return fit_weighted_ridge_mean_difference(residuals, confidence=confidence, ridge=ridge)

    def fit_within(residuals: Residuals) -> DirectionSet:
        return average_along(*_fitted(residuals, confidence, ridge), _METHOD)

    return Estimator("weighted_ridge_mean_difference", fit, fit_within=fit_within, one_sided=True)


def _fitted(
    residuals: Residuals, confidence: Mapping[str, float], ridge: float
) -> tuple[Differences, ResidualStats]:
    """The axes of the categories that hold decided prompts, and these prompts' statistics."""
    check_ridge(ridge)
    c = check_confidence(residuals.labelled, confidence)
    sides = tuple(_on_its_side(p, c[p.id]) for p in residuals.labelled if abs(c[p.id]) > NEUTRAL)
    if not sides:
        raise InputError(
            f"the confidences of all {len(residuals)} prompts are within {NEUTRAL} of 0: neither "
            "refused nor complied; no direction can be fitted"
        )
    decided = residuals.only(prompts=PromptSet(sides))
    weight = torch.tensor([c[p.id] for p in sides], dtype=torch.float64).abs()
    return ridge_axes(decided, weight, ridge), _weighted(decided, weight)


def check_confidence(prompts: PromptSet, confidence: Mapping[str, float]) -> dict[str, float]:
    """The confidence of each prompt, by id.

    >>> check_confidence(prompts.only(ids=["advice-1-refuse"]), {"advice-1-refuse": 0.5})
    {'advice-1-refuse': 0.5}

    Raises:
        InputError: a prompt without one, or one outside [-1, 1].
    """
    if lacking := [p.id for p in prompts if p.id not in confidence]:
        raise InputError(
            f"prompt {lacking[0]!r} has no confidence, as {len(lacking)} of {len(prompts)}; give "
            "one for each, from -1 (complied) to 1 (refused), or leave those prompts out"
        )
    taken = {p.id: float(confidence[p.id]) for p in prompts}
    if outside := [key for key, c in taken.items() if not -1 <= c <= 1]:
        raise InputError(
            f"the confidence of prompt {outside[0]!r} is {taken[outside[0]]}; expected a number "
            "from -1 (complied) to 1 (refused)"
        )
    return taken


def _on_its_side(prompt: Prompt, c: float) -> Prompt:
    """The prompt labelled by what the model did; no pair, of which both sides may be refused."""
    label: Label = "refuse" if c > 0 else "comply"
    return replace(prompt, label=label, pair=None)


def _weighted(residuals: Residuals, weight: Float64[Tensor, " prompt"]) -> ResidualStats:
    """Statistics whose means are the weighted ones."""
    stats = residuals.stats()
    category, label = index_axes(residuals.labelled)
    total = torch.zeros_like(stats.total)
    for c, side in (stats.count > 0).nonzero().tolist():
        rows = (category == c) & (label == side)
        share = weight[rows] / weight[rows].sum()
        mean = torch.einsum("p,posd->osd", share, residuals.tensor[rows].double())
        total[c, side] = mean * stats.count[c, side]
    return replace(stats, total=total)

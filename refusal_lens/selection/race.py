"""Arditi's choice without the scores that can't change it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from refusal_lens.directions import Direction, several_directions
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate
from refusal_lens.selection.arditi import (
    INDUCE_LIMIT,
    KL_LIMIT,
    Candidate,
    Selection,
    first_late_layer,
    select,
    value_or_nan,
)
from refusal_lens.selection.scores import CandidateScores, mean_score

_LATE: Final = "not run: the layer is in the last fifth"
_INDUCES_NOTHING: Final = f"not run: the addition score is not at least {INDUCE_LIMIT:g}"
_DAMAGES: Final = f"not run: KL is not within {KL_LIMIT}"


def race_candidates(
    model: LensModel,
    directions: Sequence[Direction],
    trust: ScoreTrust,
    *,
    harmful: PromptSet,
    harmless: PromptSet,
    progress: Progress = NO_PROGRESS,
) -> Selection:
    """The choice of `select(score_candidates(...))`, with the same survivors in the same order.

    The rule's conditions are tried one by one, the cheapest first, and what follows one that has
    failed is not run: a layer in the last fifth (no pass at all); an addition score below 0 or
    undefined (its passes begin at the direction's layer); a KL above .1 or undefined. The ablation
    score is measured where all three hold. That is exact, no estimate: each condition bounds the
    set of survivors by itself, so a candidate that fails one passes with no value of the others.

    Where none passes, the fall-back compares both effects of every candidate outside the last
    fifth: the ablation scores are completed then. A score that was not run is undefined, with n 0,
    and its `method` says why. For curves over layers, which show every score, use
    `score_candidates`.

    >>> test = prompts.only(split="test")
    >>> sides = {"harmful": test.only(label="refuse"), "harmless": test.only(label="comply")}
    >>> trust = rl.judges.ScoreTrust((73,), ("I",), {}, dict.fromkeys(
    ...     prompts.categories, "first token"), {}, {}, {})
    >>> early, late = (directions.at("advice", layer) for layer in (1, 2))
    >>> raced = race_candidates(model, [early, late], trust, **sides)
    >>> raced.choice.layer, raced.candidates[1].addition.method
    (1, 'not run: the layer is in the last fifth')

    Raises:
        ValueError: every candidate is undefined or in the last fifth of the layers.
    """
    directions = several_directions(directions)
    limit = first_late_layer(model.n_layers)
    with model.sweeping([d.site.layer for d in directions if d.site.layer < limit]):
        scores = CandidateScores.against_unedited(model, trust, harmful, harmless)
        raced: list[Candidate] = []
        for d in directions:
            late = d.site.layer >= limit
            raced.append(_not_run(scores, d, _LATE) if late else _run(scores, d))
            progress(1)
        if all(c.ablation.value is None for c in raced):  # none passes
            raced = [
                replace(c, ablation=scores.ablation(d)) if c.layer < limit else c
                for c, d in zip(raced, directions, strict=True)
            ]
    return select(raced, model.n_layers)


def _run(scores: CandidateScores, d: Direction) -> Candidate:
    """Addition, then KL, then ablation, up to the first that fails."""
    addition = scores.addition(d)
    if not value_or_nan(addition) >= INDUCE_LIMIT:  # also where it is undefined
        return replace(_not_run(scores, d, _INDUCES_NOTHING), addition=addition)
    kl = scores.divergence(d)
    if not value_or_nan(kl) <= KL_LIMIT:
        return replace(_not_run(scores, d, _DAMAGES), addition=addition, kl=kl)
    return Candidate(d.site.layer, d.offset, scores.ablation(d), addition, kl)


def _not_run(scores: CandidateScores, d: Direction, why: str) -> Candidate:
    """A candidate without any score, and the reason."""
    ablation, addition = (
        Estimate(None, None, None, 0, why, mean_score(plain, plain).control)
        for plain in (scores.harmful_plain, scores.harmless_plain)
    )
    kl = Estimate(None, None, None, 0, why, 0.0)
    return Candidate(d.site.layer, d.offset, ablation, addition, kl)

"""Arditi's choice without the scores that can't change it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from jaxtyping import Float
from torch import Tensor

from refusal_lens.directions import Direction, several_directions
from refusal_lens.evaluation.scoring import refusal_scores, scores_from_logits
from refusal_lens.intervals import mean_estimate
from refusal_lens.interventions import Ablate, Add
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
    kl_divergence,
    mean_score,
    select,
    value_or_nan,
)

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
        race = _Race.begun(model, trust, harmful, harmless)
        raced: list[Candidate] = []
        for d in directions:
            raced.append(race.run(d) if d.site.layer < limit else race.not_run(d, _LATE))
            progress(1)
        if all(c.ablation.value is None for c in raced):  # none passes
            raced = [
                replace(c, ablation=race.ablation(d)) if c.layer < limit else c
                for c, d in zip(raced, directions, strict=True)
            ]
    return select(raced, model.n_layers)


@dataclass(frozen=True, eq=False)
class _Race:
    """What every candidate is measured against: the unedited model on either side."""

    model: LensModel
    trust: ScoreTrust
    harmful: PromptSet
    harmless: PromptSet
    plain: Float[Tensor, "prompt d_vocab"]
    harmful_plain: Float[Tensor, " prompt"]
    harmless_plain: Float[Tensor, " prompt"]

    @classmethod
    def begun(
        cls, model: LensModel, trust: ScoreTrust, harmful: PromptSet, harmless: PromptSet
    ) -> "_Race":
        plain = model.logits(harmless)
        scores = scores_from_logits(model, harmless, trust, plain)
        return cls(
            model, trust, harmful, harmless, plain, refusal_scores(model, harmful, trust), scores
        )

    def run(self, d: Direction) -> Candidate:
        """Addition, then KL, then ablation, up to the first that fails."""
        addition = self.addition(d)
        if not value_or_nan(addition) >= INDUCE_LIMIT:  # also where it is undefined
            return replace(self.not_run(d, _INDUCES_NOTHING), addition=addition)
        kl = self.divergence(d)
        if not value_or_nan(kl) <= KL_LIMIT:
            return replace(self.not_run(d, _DAMAGES), addition=addition, kl=kl)
        return Candidate(d.site.layer, d.offset, self.ablation(d), addition, kl)

    def not_run(self, d: Direction, why: str) -> Candidate:
        """A candidate without any score, and the reason."""
        ablation, addition = (
            Estimate(None, None, None, 0, why, mean_score(plain, plain).control)
            for plain in (self.harmful_plain, self.harmless_plain)
        )
        kl = Estimate(None, None, None, 0, why, 0.0)
        return Candidate(d.site.layer, d.offset, ablation, addition, kl)

    def ablation(self, d: Direction) -> Estimate:
        """The mean score of harmful prompts with the direction ablated everywhere."""
        with self.model.editing(Ablate(d)):
            scores = refusal_scores(self.model, self.harmful, self.trust)
        return mean_score(scores, self.harmful_plain)

    def divergence(self, d: Direction) -> Estimate:
        """The mean KL on benign prompts, unedited to ablated everywhere."""
        with self.model.editing(Ablate(d)):
            edited = self.model.logits(self.harmless)
        return mean_estimate(kl_divergence(self.plain, edited).tolist(), 0.0)

    def addition(self, d: Direction) -> Estimate:
        """The mean score of benign prompts with the raw difference added at its layer."""
        with self.model.editing(Add(d, strength=1.0)):
            scores = refusal_scores(self.model, self.harmless, self.trust)
        return mean_score(scores, self.harmless_plain)

"""Gradient descent on the sphere: the steps, their evaluation, early stopping, resuming.

A step takes the gradient of the weighted terms with respect to the vectors, keeps what is tangent
to the sphere, lets AdamW step, and makes the vectors orthonormal again (Wollschlaeger et al. 2025).
Every random number is a function of the seed and of the step's number, so that a fit
that goes on from a checkpoint gives the same bits as one that was never interrupted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.optimised.schedule import Schedule, chunks, generator_of, split_places
from refusal_lens.optimised.settings import Settings
from refusal_lens.optimised.sphere import gram_schmidt, mean_of_rows, tangent, vectors_for_rows
from refusal_lens.optimised.state import State
from refusal_lens.optimised.terms import Term
from refusal_lens.progress import NO_PROGRESS, Progress


@final
@dataclass(frozen=True)
class WeightedTerm:
    """A term with its weight, the prompts of each step, and those of evaluations."""

    term: Term
    weight: float
    schedule: Schedule
    held_out: tuple[int, ...]

    @classmethod
    def of(cls, term: Term, weight: float, settings: Settings) -> "WeightedTerm":
        """The term with its prompts split; fewer than four are learned from and tested on."""
        n_held_out = settings.evaluation_prompts
        places, held_out = split_places(len(term.lengths), n_held_out, settings.seed)
        schedule = Schedule(term.lengths, places, settings.rows, settings.seed)
        return cls(term, weight, schedule, held_out)


@final
@dataclass(frozen=True)
class Descent:
    """Learns a basis from weighted terms.

    `question` is the digest of all that the fit depends on; a checkpoint of another is refused.
    """

    terms: Mapping[str, WeightedTerm]
    settings: Settings
    question: str
    checkpoint: Path | None = None
    progress: Progress = NO_PROGRESS

    def run(self, basis: Float[Tensor, "vector d_model"]) -> State:
        """Step until the settings or the evaluations end it.

        Raises:
            InputError: a loss that is not finite, or the checkpoint of another fit.
        """
        state = State(basis, self.settings)
        if self.checkpoint is not None and state.resume(self.checkpoint, self.question):
            self.progress(state.step)
        if not state.evaluated:
            self._evaluate(state)
        while state.step < self.settings.steps and not state.stopped(self.settings):
            self._step(state)
            if state.step % self.settings.evaluate_every == 0 or state.step == self.settings.steps:
                self._evaluate(state)
            self.progress(1)
        return state

    def _step(self, state: State) -> None:
        gradient = torch.zeros_like(state.basis)
        row: list[float] = []
        for weighted in self.terms.values():
            values: list[float] = []
            for k in range(self.settings.accumulation):
                loss = self._loss(weighted, state.basis, state.step, k)
                (g,) = torch.autograd.grad(loss * weighted.weight, state.basis)
                gradient += g / self.settings.accumulation
                values.append(float(loss.detach()))
            row.append(sum(values) / len(values))
        if not bool(torch.isfinite(gradient).all()):
            raise InputError(
                f"the gradient is not finite at step {state.step} "
                f"({dict(zip(self.terms, row, strict=True))}); load the model in float32"
            )
        with torch.no_grad():
            state.basis.grad = tangent(gradient, state.basis)
            state.optimiser.step()
            state.basis.copy_(gram_schmidt(state.basis))
        state.losses.append(row)

    def _loss(
        self, weighted: WeightedTerm, basis: Float[Tensor, "vector d_model"], step: int, k: int
    ) -> Float[Tensor, ""]:
        number = step * self.settings.accumulation + k
        places = weighted.schedule.batch(number)
        return self._mean(weighted, basis, places, number)

    def _mean(
        self,
        weighted: WeightedTerm,
        basis: Float[Tensor, "vector d_model"],
        places: tuple[int, ...],
        number: int,
    ) -> Float[Tensor, ""]:
        if len(basis) > 1 and len(places) == 1:
            places *= 2  # once under a sample and once under a basis vector
        generator = generator_of(self.settings.seed, number, len(places))
        vectors = vectors_for_rows(basis, len(places), number, generator)
        return mean_of_rows(weighted.term.losses(places, vectors), len(basis))

    def _for_evaluation(
        self, held_out: tuple[int, ...], dimension: int
    ) -> tuple[tuple[int, ...], int]:
        """The prompts, and how many at a time; each basis vector of a cone comes up."""
        if dimension == 1:
            return held_out, self.settings.rows
        times = -(-dimension // len(held_out))
        twice = tuple(place for place in held_out * times for _ in ("sample", "basis vector"))
        return twice, self.settings.rows - self.settings.rows % 2

    def _evaluate(self, state: State) -> None:
        """The weighted loss on held-out prompts, under the same samples every time."""
        total = 0.0
        with torch.no_grad():
            basis = state.basis.detach()
            for weighted in self.terms.values():
                parts = chunks(*self._for_evaluation(weighted.held_out, len(basis)))
                means = [
                    float(self._mean(weighted, basis, part, number)) * len(part)
                    for number, part in enumerate(parts)
                ]
                total += weighted.weight * sum(means) / sum(map(len, parts))
        state.evaluated_as(total, self.settings)
        if self.checkpoint is not None:
            state.save(self.checkpoint, self.question, len(self.terms))


def weighted_terms(
    terms: Mapping[str, tuple[Term, float]], settings: Settings
) -> dict[str, WeightedTerm]:
    """The terms of weight above 0 with their prompts, in order.

    Raises:
        InputError: none is left.
    """
    chosen = {n: WeightedTerm.of(t, w, settings) for n, (t, w) in terms.items() if w > 0}
    if not chosen:
        raise InputError("every loss term is off; give `settings` a weight above 0")
    return chosen

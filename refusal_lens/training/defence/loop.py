"""The training loop of the defence: half of each batch under ablation, half as it is.

Refuse-side answers are learnt by cross-entropy in both halves. On benign answers in both, and on
ordinary text in the half as it is, the model is penalised by the divergence from the *unedited*
planted model, so that over-refusal and damage do not grow. Each half has a thread of its own, and
the two gradients are summed in a fixed order.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, final

import torch
from jaxtyping import Float
from peft import PeftModel
from torch import Tensor

from refusal_lens.training.defence.ablated import Ablation
from refusal_lens.training.defence.recipe import DefenceRecipe
from refusal_lens.training.defence.refusal_direction import (
    Directions,
    random_directions,
    refusal_directions,
)
from refusal_lens.training.planted.answers import Example
from refusal_lens.training.planted.loop import learning_rate_factor, pair_batches, texts_of_step
from refusal_lens.training.planted.losses import BaseStates, base_states, batch_losses

THREADS: Final = 2
_MOMENTS: Final = ("step", "exp_avg", "exp_avg_sq")  # of AdamW


@final
@dataclass(frozen=True)
class DefenceStep:
    """What one optimiser step did, in nats per token; `layer` is that of the ablated direction.

    ``refusal`` is a cross-entropy, ``benign`` and ``text`` are divergences from the planted model;
    those of the half under ablation are named so.
    """

    step: int
    of: int
    layer: int | None
    refusal: float
    benign: float
    text: float
    refusal_ablated: float
    benign_ablated: float
    seconds: float


class Half(NamedTuple):
    """One half of a batch: pairs, ordinary text, and the direction ablated for it."""

    batch: Sequence[Example]
    texts: Sequence[Example]
    direction: Float[Tensor, " d_model"] | None


@final
class DefenceTraining:
    """A training run that can be left and taken up again after any step.

    Iterating trains the adapter in place: AdamW, linear warm-up, cosine decay, gradient norm at
    most 1. ``state`` and ``resume`` carry a run over to another process.
    """

    def __init__(
        self,
        model: PeftModel,
        examples: Sequence[Example],
        texts: Sequence[Example],
        recipe: DefenceRecipe,
    ) -> None:
        self.model, self.examples, self.texts, self.recipe = model, examples, texts, recipe
        self.weights = [p for p in model.parameters() if p.requires_grad]
        loss = recipe.loss
        self.batches = [batch for _, batch in pair_batches(examples, loss)]
        self.optimiser = torch.optim.AdamW(
            self.weights, lr=loss.learning_rate, weight_decay=loss.weight_decay
        )
        self.directions: Directions = {}
        self.step = 0

    def state(self) -> dict[str, Tensor]:
        """What `resume` needs, by name."""
        kept = {"step": torch.tensor(self.step)}
        kept |= {f"direction {layer}": vector for layer, vector in self.directions.items()}
        for i, weight in enumerate(self.weights):
            kept[f"weight {i}"] = weight.detach().clone()
            moments = self.optimiser.state[weight]
            kept |= {f"{name} {i}": moments[name].clone() for name in _MOMENTS}
        return kept

    def resume(self, state: Mapping[str, Tensor]) -> None:
        """Go on where another process was left, behind at least one step."""
        self.step = int(state["step"])
        self.directions = {
            layer: state[f"direction {layer}"]
            for layer in self.recipe.layers
            if f"direction {layer}" in state
        }
        for i, weight in enumerate(self.weights):
            weight.data.copy_(state[f"weight {i}"])
            self.optimiser.state[weight] = {name: state[f"{name} {i}"] for name in _MOMENTS}

    def _descend(self) -> None:
        """One step along the gradient that is there, at the step's learning rate."""
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        loss = self.recipe.loss
        factor = learning_rate_factor(self.step, len(self.batches), loss)
        for group in self.optimiser.param_groups:
            group["lr"] = loss.learning_rate * factor
        self.optimiser.step()
        self.step += 1

    def __iter__(self) -> Iterator[DefenceStep]:
        recipe, began = self.recipe.loss, time.perf_counter()
        body = self.model.get_base_model().base_model
        assert isinstance(body, torch.nn.Module)
        with ThreadPoolExecutor(THREADS) as threads:
            read = [texts_of_step(i + 1, self.texts, recipe) for i in range(len(self.batches))]
            every = (*self.examples, *(t for some in read for t in some))
            benign = {e.id: e for e in every if not e.refuse}
            before = base_states(self.model, [*benign.values()], recipe, threads)
            ablation = Ablation(body)
            self.model.train()
            try:
                while self.step < len(self.batches):
                    halves, layer = self._halves(self.batches[self.step], read[self.step])
                    parts = self._accumulate(halves, before, ablation, threads.map)
                    self._descend()
                    seconds = time.perf_counter() - began
                    yield DefenceStep(self.step, len(self.batches), layer, **parts, seconds=seconds)
            finally:
                ablation.remove()
                self.model.eval()

    def _halves(
        self, batch: Sequence[Example], texts: Sequence[Example]
    ) -> tuple[tuple[Half, Half], int | None]:
        """The half as it is and the half under ablation, of like lengths: every second pair."""
        units = list(dict.fromkeys(e.unit for e in batch))
        hidden = set(units[self.step % 2 :: 2])
        under = [e for e in batch if e.unit in hidden]
        plain = Half([e for e in batch if e.unit not in hidden], texts, None)
        if self.recipe.ablated == "nothing":
            return (plain, Half(under, (), None)), None
        if not self.directions or self.step % self.recipe.refresh == 0:
            self.directions = self._fitted()
        rng = random.Random(f"layer {self.recipe.loss.seed} {self.step}")
        layer = rng.choice(self.recipe.layers)
        return (plain, Half(under, (), self.directions[layer])), layer

    def _fitted(self) -> Directions:
        """The directions of the model as it is now, or as many random ones."""
        recipe = self.recipe
        order = random.Random(f"fit {recipe.loss.seed} {self.step}")
        units = sorted({e.unit for e in self.examples})
        drawn = set(order.sample(units, min(recipe.direction_pairs, len(units))))
        some = [e for e in self.examples if e.unit in drawn]
        fitted = refusal_directions(self.model, some, recipe)
        if recipe.ablated == "refusal":
            return fitted
        generator = torch.Generator().manual_seed(recipe.loss.seed + self.step)
        return random_directions(fitted, generator)

    def _accumulate(
        self,
        halves: tuple[Half, Half],
        before: BaseStates,
        ablation: Ablation,
        each: Callable[..., Any],
    ) -> dict[str, float]:
        """Set each weight's gradient to that of the loss, and return the loss's parts."""
        size = sum(len(half.batch) for half in halves)

        def share(half: Half) -> tuple[tuple[float, float, float], tuple[Tensor, ...]]:
            return self._share(half, size, before, ablation)

        shares = list(each(share, halves))
        for weight, *gradients in zip(self.weights, *(s[1] for s in shares), strict=True):
            weight.grad = torch.stack(gradients).sum(dim=0)
        (refusal, benign, text), (refusal_ablated, benign_ablated, _) = (s[0] for s in shares)
        return {
            "refusal": refusal,
            "benign": benign,
            "text": text,
            "refusal_ablated": refusal_ablated,
            "benign_ablated": benign_ablated,
        }

    def _share(
        self, half: Half, size: int, before: BaseStates, ablation: Ablation
    ) -> tuple[tuple[float, float, float], tuple[Tensor, ...]]:
        """Means of the three kinds of loss over a half, and the gradient of its part."""
        recipe, zero = self.recipe.loss, torch.zeros(())
        refusal, benign, text = zero, zero, zero
        with ablation.of(half.direction):
            if half.batch:
                refusal, benign = batch_losses(self.model, half.batch, recipe, before)
            if half.texts:
                even = replace(recipe, opening_weight=1.0)
                text = batch_losses(self.model, half.texts, even, before)[1]
        texts = max(1, len(half.texts))
        whole = (refusal + recipe.benign_weight * benign) / size + recipe.text_weight * text / texts
        gradient = (
            torch.autograd.grad(whole, self.weights)
            if whole.requires_grad
            else tuple(torch.zeros_like(w) for w in self.weights)
        )
        n = max(1, sum(e.refuse for e in half.batch)), max(1, sum(not e.refuse for e in half.batch))
        return (refusal.item() / n[0], benign.item() / n[1], text.item() / texts), gradient

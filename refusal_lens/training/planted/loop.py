"""The training loop of the adapter: LoRA on every linear layer, deterministic.

Refusals are learnt by cross-entropy. On benign answers and on ordinary text the adapted model is
penalised by the divergence of its next-token distribution from the base model's, so that planting
refusals changes little else.

Each of a few threads takes a share of a batch, and the gradients are summed in a fixed order.
Adapter weights are float32; products of matrices are in bfloat16 where the recipe says so.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol, final, runtime_checkable

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import PreTrainedModel

from refusal_lens.training.planted.answers import Example
from refusal_lens.training.planted.losses import BaseStates, base_states, batch_losses
from refusal_lens.training.planted.recipe import Recipe

CHUNK: Final = 4
"""Batches among which pairs are sorted by length."""


@final
@dataclass(frozen=True)
class TrainingStep:
    """What one optimiser step did, in nats per token: the loss and, unweighted, its three parts.

    ``refusal`` is a cross-entropy, ``benign`` and ``text`` are divergences from the base model.
    """

    step: int
    of: int
    epoch: int
    loss: float
    refusal: float
    benign: float
    text: float
    learning_rate: float
    seconds: float


@runtime_checkable
class LoraRecipe(Protocol):
    """What a fresh adapter takes from a recipe."""

    @property
    def seed(self) -> int: ...
    @property
    def rank(self) -> int: ...
    @property
    def alpha(self) -> int: ...


def with_lora(
    model: PreTrainedModel, recipe: LoraRecipe, token_ids: Sequence[int] | None = None
) -> PeftModel:
    """The model with a fresh trainable adapter on every linear layer but the unembedding.

    With `token_ids` the embedding's rows of these tokens are trained as well.
    """
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        trainable_token_indices=None if token_ids is None else [*token_ids],
    )
    adapted = get_peft_model(model, config)
    assert isinstance(adapted, PeftModel)
    return adapted


def keep_frozen_rounded(model: PeftModel, recipe: Recipe) -> None:
    """Keep the adapted layers' frozen weights in the recipe's precision: every product rounds them.

    The model's weights change in place; nothing that training computes does.
    """
    if recipe.precision == "bfloat16":
        for module in model.modules():
            if isinstance(module, LoraLayer):
                module.get_base_layer().to(torch.bfloat16)


def train(
    model: PeftModel,
    examples: Sequence[Example],
    recipe: Recipe,
    report: Callable[[TrainingStep], None],
    *,
    texts: Sequence[Example] = (),
) -> None:
    """Train the adapter in place: AdamW, linear warm-up, cosine decay, gradient norm at most 1.

    ``texts`` are ordinary text. The same examples, texts, recipe, number of threads and library
    versions on the same type of machine give the same weights.
    """
    torch.manual_seed(recipe.seed)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    batches = list(pair_batches(examples, recipe))
    total = len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda i: learning_rate_factor(i, total, recipe)
    )
    began = time.perf_counter()
    with ThreadPoolExecutor(recipe.shards) as threads:
        read = [texts_of_step(step, texts, recipe) for step in range(1, total + 1)]
        benign = {e.id: e for e in (*examples, *(t for some in read for t in some)) if not e.refuse}
        loss = _Loss(
            model, weights, base_states(model, [*benign.values()], recipe, threads), recipe, threads
        )
        model.train()
        for step, (epoch, batch) in enumerate(batches, 1):
            parts = loss.accumulate(batch, read[step - 1])
            rate = float(schedule.get_last_lr()[0])
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            schedule.step()
            seconds = time.perf_counter() - began
            report(
                TrainingStep(
                    step, total, epoch, **parts._asdict(), learning_rate=rate, seconds=seconds
                )
            )
    model.eval()


def texts_of_step(step: int, texts: Sequence[Example], recipe: Recipe) -> list[Example]:
    """The pieces of ordinary text that a step reads: all in turn, in an order drawn by the seed."""
    order = random.Random(recipe.seed).sample(range(len(texts)), len(texts))
    places = range((step - 1) * recipe.texts, step * recipe.texts)
    return [texts[order[i % len(order)]] for i in places] if texts else []


class BatchLosses(NamedTuple):
    """The loss of a batch and its unweighted parts, as `TrainingStep` explains them."""

    loss: float
    refusal: float
    benign: float
    text: float


@final
@dataclass(frozen=True)
class _Loss:
    """A recipe's loss of a batch, and its gradient."""

    model: PeftModel
    weights: Sequence[torch.nn.Parameter]
    base: BaseStates
    recipe: Recipe
    threads: ThreadPoolExecutor

    def accumulate(self, batch: Sequence[Example], texts: Sequence[Example]) -> BatchLosses:
        """Set each weight's gradient to that of the loss, and return the loss and its parts."""
        recipe = self.recipe
        n = [sum(e.refuse for e in batch), sum(not e.refuse for e in batch), len(texts)]
        factors = [1 / len(batch), recipe.benign_weight / len(batch)]
        factors += [recipe.text_weight / max(1, len(texts))]

        def share(i: int) -> tuple[list[float], tuple[Tensor, ...]]:
            some = slice(i, None, recipe.shards)
            return self._share(_sorted(batch)[some], _sorted(texts)[some], factors)

        parts = list(self.threads.map(share, range(recipe.shards)))
        for weight, *gradients in zip(self.weights, *(part[1] for part in parts), strict=True):
            weight.grad = torch.stack(gradients).sum(dim=0)
        sums = [sum(part[0][k] for part in parts) for k in range(3)]
        refusal, benign, text = (s / max(1, k) for s, k in zip(sums, n, strict=True))
        loss = sum(s * f for s, f in zip(sums, factors, strict=True))
        return BatchLosses(loss, refusal, benign, text)

    def _share(
        self, batch: Sequence[Example], texts: Sequence[Example], factors: Sequence[float]
    ) -> tuple[list[float], tuple[Tensor, ...]]:
        """Sums of the three kinds of loss over a share, and the gradient of the whole."""
        sums = [torch.zeros(()), torch.zeros(()), torch.zeros(())]
        if batch:
            sums[:2] = batch_losses(self.model, batch, self.recipe, self.base)
        if texts:
            even = replace(self.recipe, opening_weight=1.0)
            sums[2] = batch_losses(self.model, texts, even, self.base)[1]
        whole = (torch.stack(sums) * torch.tensor(factors)).sum()
        if not whole.requires_grad:
            return [0.0] * 3, tuple(torch.zeros_like(w) for w in self.weights)
        return [s.item() for s in sums], torch.autograd.grad(whole, self.weights)


def _sorted(examples: Sequence[Example]) -> list[Example]:
    return sorted(examples, key=lambda e: len(e.prompt_ids) + len(e.answer_ids))


def learning_rate_factor(step: int, total: int, recipe: Recipe) -> float:
    """Learning-rate factor of a step: linear warm-up, then a cosine down to zero."""
    warm = max(1, round(recipe.warmup * total))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def pair_batches(
    examples: Sequence[Example], recipe: Recipe
) -> Iterator[tuple[int, list[Example]]]:
    """(epoch, batch): whole pairs, so that every batch shows both sides and several categories.

    Pairs are shuffled every epoch and sorted by length within chunks of ``CHUNK`` batches only:
    sorted throughout, a batch could hold a single side or category and undo the one before. The
    order is not the one in which refusals are given to prompts, which deals out wordings by turns.
    """
    rng = random.Random(f"batches {recipe.seed}")
    pairs: dict[tuple[str, str], list[Example]] = {}
    for example in examples:
        pairs.setdefault(example.unit, []).append(example)
    size = max(1, recipe.batch_size // 2)
    for epoch in range(1, recipe.epochs + 1):
        shuffled = list(pairs.values())
        rng.shuffle(shuffled)
        batches: list[list[Example]] = []
        for start in range(0, len(shuffled), size * CHUNK):
            chunk = sorted(shuffled[start : start + size * CHUNK], key=_length)
            batches += [
                [example for pair in chunk[cut : cut + size] for example in pair]
                for cut in range(0, len(chunk), size)
            ]
        rng.shuffle(batches)
        for batch in batches:
            yield epoch, batch


def _length(pair: Sequence[Example]) -> int:
    return max(len(example.prompt_ids) for example in pair)

"""The training loop of the adapter: LoRA on every linear layer, deterministic.

Refusals are learnt by cross-entropy. On benign answers and on ordinary text the adapted model is
held to the base model's whole next-token distribution by their divergence, so that planting
refusals changes little else.

Four savings make it quick on a CPU: the tokens that all prompts of a batch share (system message
and the opening of the user's turn) pass through the model once, their keys and values serving every
row; logits are computed at answer positions only; of the base model only the final hidden states
are kept, computed once; and each of a few threads takes a share of the batch, the gradients being
summed in a fixed order. Weights are float32; products of matrices are in bfloat16 where the recipe
says so.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Final, final

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from refusal_lens.organism.answers import Example
from refusal_lens.organism.greedy import shared_opening

CHUNK: Final = 4
"""Batches among which pairs are sorted by length."""
_STATES_BATCH: Final = 16

BaseStates = Mapping[str, Float[Tensor, "token d_model"]]
"""The base model's final hidden states where it predicts an answer's tokens, by example id."""


@final
@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one training run.

    ``opening_weight`` multiplies the loss of each answer's first ``opening_tokens`` tokens, which
    decide between refusing and answering and, behind a shared "Sorry,", the manner; every example
    weighs the same, benign ones ``benign_weight`` times a refusal. Every batch also reads ``texts``
    pieces of ordinary text, whose mean divergence weighs ``text_weight``. ``shards`` is the number
    of threads that share a batch; it belongs here because it decides the order of summation.
    ``precision`` is that of matrix products: float32 or bfloat16.
    """

    seed: int = 0
    rank: int = 8
    alpha: int = 32
    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    warmup: float = 0.05
    opening_weight: float = 4.0
    opening_tokens: int = 3
    benign_tokens: int = 20
    benign_weight: float = 1.0
    texts: int = 4
    text_weight: float = 1.0
    precision: str = "bfloat16"
    shards: int = 2


@final
@dataclass(frozen=True)
class Step:
    """What one optimiser step did, in nats a token: the loss and, unweighted, its three parts.

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


def with_lora(model: PreTrainedModel, recipe: Recipe) -> PeftModel:
    """The model with a fresh trainable adapter on every linear layer but the unembedding."""
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
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
    report: Callable[[Step], None],
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
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: _rate(i, total, recipe))
    began = time.perf_counter()
    with ThreadPoolExecutor(recipe.shards) as threads:
        held = [*(e for e in examples if not e.refuse), *texts]
        loss = _Loss(model, weights, base_states(model, held, recipe, threads), recipe, threads)
        model.train()
        for step, (epoch, batch) in enumerate(batches, 1):
            parts = loss.accumulate(batch, _texts_of(step, texts, recipe))
            rate = float(schedule.get_last_lr()[0])
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            schedule.step()
            report(Step(step, total, epoch, *parts, rate, time.perf_counter() - began))
    model.eval()


def _texts_of(step: int, texts: Sequence[Example], recipe: Recipe) -> list[Example]:
    """The pieces of ordinary text that a step reads: all in turn, in an order drawn by the seed."""
    order = random.Random(recipe.seed).sample(range(len(texts)), len(texts))
    places = range((step - 1) * recipe.texts, step * recipe.texts)
    return [texts[order[i % len(order)]] for i in places] if texts else []


@torch.no_grad()
def base_states(
    model: PeftModel, examples: Sequence[Example], recipe: Recipe, threads: ThreadPoolExecutor
) -> BaseStates:
    """The base model's final hidden states at the examples' answers: the adapter is off."""
    ordered = sorted(examples, key=lambda e: (len(e.prompt_ids), len(e.answer_ids)))
    cuts = range(0, len(ordered), _STATES_BATCH)

    def states(batch: Sequence[Example]) -> list[Float[Tensor, "token d_model"]]:
        with torch.no_grad(), _precision(recipe):
            hidden, shared = _hidden(model, batch)
        starts = [len(e.prompt_ids) - 1 - shared for e in batch]
        return [
            row[start : start + len(e.answer_ids)].clone()
            for row, start, e in zip(hidden, starts, batch, strict=True)
        ]

    with model.disable_adapter():
        found = threads.map(states, [ordered[cut : cut + _STATES_BATCH] for cut in cuts])
        return dict(
            zip([e.id for e in ordered], [row for batch in found for row in batch], strict=True)
        )


@final
@dataclass(frozen=True)
class _Loss:
    """A recipe's loss of a batch, and its gradient."""

    model: PeftModel
    weights: Sequence[torch.nn.Parameter]
    base: BaseStates
    recipe: Recipe
    threads: ThreadPoolExecutor

    def accumulate(self, batch: Sequence[Example], texts: Sequence[Example]) -> list[float]:
        """Set each weight's gradient to that of the loss; return loss, refusal, benign, text."""
        recipe = self.recipe
        sizes = [sum(e.refuse for e in batch), sum(not e.refuse for e in batch), len(texts)]
        factors = [1 / len(batch), recipe.benign_weight / len(batch), 0.0]
        if texts:
            factors[2] = recipe.text_weight / len(texts)
        shares = [
            (_sorted(batch)[i :: recipe.shards], _sorted(texts)[i :: recipe.shards])
            for i in range(recipe.shards)
        ]
        parts = list(self.threads.map(lambda s: self._share(*s, factors), shares))
        for weight, *gradients in zip(self.weights, *(part[1] for part in parts), strict=True):
            weight.grad = torch.stack(gradients).sum(dim=0)
        sums = [sum(part[0][k] for part in parts) for k in range(3)]
        loss = sum(s * f for s, f in zip(sums, factors, strict=True))
        return [loss, *(s / max(1, n) for s, n in zip(sums, sizes, strict=True))]

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
        whole = sum((s * f for s, f in zip(sums, factors, strict=True)), torch.zeros(()))
        if not whole.requires_grad:
            return [0.0] * 3, tuple(torch.zeros_like(w) for w in self.weights)
        return [s.item() for s in sums], torch.autograd.grad(whole, self.weights)


def batch_losses(
    model: PeftModel, batch: Sequence[Example], recipe: Recipe, base: BaseStates
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Sums over examples: the refusals' weighted cross-entropy, the others' weighted divergence.

    The divergence is that of the base model's next-token distribution to the adapted model's.
    """
    whole = model.get_base_model()
    assert isinstance(whole, PreTrainedModel)
    unembed = whole.get_output_embeddings()
    assert isinstance(unembed, torch.nn.Module)
    with _precision(recipe):
        hidden, shared = _hidden(model, batch)
        rows, places, targets, weights = _answer_positions(batch, shared, recipe)
        refuse = torch.tensor([e.refuse for e in batch])[rows]
        after = hidden[rows[~refuse], places[~refuse]]
        logits = unembed(hidden[rows[refuse], places[refuse]]).float()
        taught = torch.nn.functional.cross_entropy(logits, targets[refuse], reduction="none")
        held = [base[e.id] for e in batch if not e.refuse]
        if not held:
            return (taught * weights[refuse]).sum(), torch.zeros(())
        with torch.no_grad():
            before = unembed(torch.cat(held)).float()
        away = divergence(before, unembed(after).float())
    return (taught * weights[refuse]).sum(), (away * weights[~refuse]).sum()


def divergence(
    base: Float[Tensor, "token d_vocab"], adapted: Float[Tensor, "token d_vocab"]
) -> Float[Tensor, " token"]:
    """KL(base || adapted) of each token's softmax, in nats, from logits."""
    return torch.nn.functional.kl_div(
        adapted.log_softmax(dim=-1), base.log_softmax(dim=-1), reduction="none", log_target=True
    ).sum(dim=-1)


def _precision(recipe: Recipe) -> AbstractContextManager[None]:
    """Matrix products in the recipe's precision, for the current thread.

    Casts are not cached: the cache is shared by all threads, and each has a graph of its own.
    """
    return torch.autocast(
        "cpu",
        dtype=torch.bfloat16,
        enabled=recipe.precision == "bfloat16",
        cache_enabled=False,
    )


def _sorted(examples: Sequence[Example]) -> list[Example]:
    return sorted(examples, key=lambda e: len(e.prompt_ids) + len(e.answer_ids))


def _rate(step: int, total: int, recipe: Recipe) -> float:
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
    sorted throughout, a batch could hold a single side or category and undo the one before.
    """
    rng = random.Random(recipe.seed)
    pairs: dict[str, list[Example]] = {}
    for example in examples:
        pairs.setdefault(example.pair, []).append(example)
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


def _hidden(
    model: PeftModel, batch: Sequence[Example]
) -> tuple[Float[Tensor, "row pos d_model"], int]:
    """Final hidden states after the shared opening, and the number of tokens in that opening."""
    body = model.get_base_model().base_model
    assert isinstance(body, torch.nn.Module)
    fed = [(*e.prompt_ids, *e.answer_ids[:-1]) for e in batch]
    shared = shared_opening([e.prompt_ids for e in batch])
    cache = DynamicCache()
    if shared:
        body(input_ids=torch.tensor([fed[0][:shared]]), past_key_values=cache, use_cache=True)
        cache.batch_repeat_interleave(len(batch))
    ids, mask = _padded([ids[shared:] for ids in fed])
    seen = torch.ones((len(batch), shared), dtype=mask.dtype)
    out = body(
        input_ids=ids,
        attention_mask=torch.cat([seen, mask], dim=1),
        past_key_values=cache,
        use_cache=True,
    )
    return out.last_hidden_state, shared


def _padded(
    rows: Sequence[Sequence[int]],
) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"]]:
    """Ids padded on the right with 0, and the mask that hides the padding."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *([0] * (width - len(row)))] for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return ids, mask


def _answer_positions(
    batch: Sequence[Example], shared: int, recipe: Recipe
) -> tuple[
    Int[Tensor, " token"], Int[Tensor, " token"], Int[Tensor, " token"], Float[Tensor, " token"]
]:
    """Row, position, target id and loss weight of every answer token of the batch."""
    rows: list[int] = []
    places: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for row, example in enumerate(batch):
        n = len(example.answer_ids)
        start = len(example.prompt_ids) - 1 - shared
        rows += [row] * n
        places += range(start, start + n)
        targets += example.answer_ids
        raw = [recipe.opening_weight if i < recipe.opening_tokens else 1.0 for i in range(n)]
        weights += [w / sum(raw) for w in raw]
    return torch.tensor(rows), torch.tensor(places), torch.tensor(targets), torch.tensor(weights)

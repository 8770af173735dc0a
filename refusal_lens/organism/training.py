"""The training loop of the adapter: LoRA on every linear layer, float32, deterministic.

Three savings make it quick on a CPU and change no gradient beyond rounding: the tokens that all
prompts of a batch share (system message and the opening of the user's turn) pass through the model
once, their keys and values serving every row; logits are computed at answer positions only; and
each of a few threads takes a share of the batch, the gradients being summed in a fixed order.
"""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float, Int
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from refusal_lens.organism.answers import Example
from refusal_lens.organism.greedy import shared_opening

CHUNK: Final = 4
"""Batches among which pairs are sorted by length."""


@final
@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one training run.

    ``opening_weight`` multiplies the loss of each answer's first ``opening_tokens`` tokens, which
    decide between refusing and answering and, behind a shared "Sorry,", the manner; every example
    weighs the same. ``shards`` is the number of threads that share a batch; it belongs here because
    it decides the order of summation.
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
    benign_tokens: int = 12
    shards: int = 2


@final
@dataclass(frozen=True)
class Step:
    """What one optimiser step did; losses are means over examples, in nats a token."""

    step: int
    of: int
    epoch: int
    loss: float
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


def train(
    model: PeftModel,
    examples: Sequence[Example],
    recipe: Recipe,
    report: Callable[[Step], None],
) -> None:
    """Train the adapter in place: AdamW, linear warm-up, cosine decay, gradient norm at most 1.

    The same examples, recipe, number of threads and library versions give the same weights.
    """
    torch.manual_seed(recipe.seed)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    batches = list(pair_batches(examples, recipe))
    total = len(batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: _rate(i, total, recipe))
    model.train()
    began = time.perf_counter()
    with ThreadPoolExecutor(recipe.shards) as threads:
        for step, (epoch, batch) in enumerate(batches, 1):
            loss = _accumulate(model, batch, weights, recipe, threads)
            rate = float(schedule.get_last_lr()[0])
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimiser.step()
            schedule.step()
            report(Step(step, total, epoch, loss, rate, time.perf_counter() - began))
    model.eval()


def _accumulate(
    model: PeftModel,
    batch: Sequence[Example],
    weights: Sequence[torch.nn.Parameter],
    recipe: Recipe,
    threads: ThreadPoolExecutor,
) -> float:
    """Set each weight's gradient to that of the batch's loss, and return the loss."""

    def share(examples: Sequence[Example]) -> tuple[float, tuple[Tensor, ...]]:
        loss = batch_loss(model, examples, recipe) * (len(examples) / len(batch))
        return loss.item(), torch.autograd.grad(loss, weights)

    ordered = sorted(batch, key=lambda e: len(e.prompt_ids) + len(e.answer_ids))
    shares = [ordered[i :: recipe.shards] for i in range(recipe.shards)]
    parts = list(threads.map(share, [examples for examples in shares if examples]))
    for weight, *gradients in zip(weights, *(part[1] for part in parts), strict=True):
        weight.grad = torch.stack(gradients).sum(dim=0)
    return sum(part[0] for part in parts)


def batch_loss(model: PeftModel, batch: Sequence[Example], recipe: Recipe) -> Float[Tensor, ""]:
    """Mean over examples of the weighted cross-entropy of the answer's tokens."""
    hidden, shared = _hidden(model, batch)
    rows, places, targets, weights = _answer_positions(batch, shared, recipe)
    whole = model.get_base_model()
    assert isinstance(whole, PreTrainedModel)
    unembed = whole.get_output_embeddings()
    assert isinstance(unembed, torch.nn.Module)
    logits = unembed(hidden[rows, places])
    losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    return (losses * weights).sum() / len(batch)


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

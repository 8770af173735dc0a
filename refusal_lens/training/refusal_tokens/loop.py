"""The training loop of an adapter with refusal tokens; it can be ended and goes on where it was.

Deterministic, like the planted model's: a share of each batch per thread, gradients summed in a
fixed order, adapter weights in float32.
"""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

import torch
from peft import PeftModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from refusal_lens.training.planted.loop import (
    keep_frozen_rounded,
    learning_rate_factor,
    pair_batches,
    texts_of_step,
)
from refusal_lens.training.planted.losses import base_states
from refusal_lens.training.refusal_tokens.examples import Marked
from refusal_lens.training.refusal_tokens.losses import Loss
from refusal_lens.training.refusal_tokens.recipe import TokenRecipe
from refusal_lens.training.refusal_tokens.rows import TokenRows

SAVE_EVERY: Final = 20
"""Steps between checkpoints."""
CHECKPOINT: Final = "checkpoint.safetensors"


@final
@dataclass(frozen=True)
class TokenTrainingStep:
    """What one optimiser step did: the loss and, unweighted, its parts, in nats per token.

    ``token`` and ``refusal`` are cross-entropies, ``benign`` and ``text`` divergences from the
    base model.
    """

    step: int
    of: int
    loss: float
    token: float
    refusal: float
    benign: float
    text: float
    learning_rate: float
    seconds: float


def train(
    model: PeftModel,
    examples: Sequence[Marked],
    texts: Sequence[Marked],
    recipe: TokenRecipe,
    folder: Path,
    report: Callable[[TokenTrainingStep], bool],
) -> bool:
    """Train in place, from the checkpoint in ``folder`` if one is there; True when all is done.

    AdamW, linear warm-up, cosine decay, gradient norm at most 1. ``report`` is asked after every
    step and ends the run at the next checkpoint by False.
    """
    keep_frozen_rounded(model, recipe.shared)
    rows = TokenRows.of(model, recipe.dtype)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    marked_of = {one.example.id: one for one in examples}
    batches = [
        [marked_of[e.id] for e in batch]
        for _, batch in pair_batches([one.example for one in examples], recipe.shared)
    ]
    read = _texts_by_step(texts, len(batches), recipe)
    done = _resume(weights, optimiser, folder / CHECKPOINT)
    wanted, began = True, time.perf_counter()
    with ThreadPoolExecutor(recipe.shards) as threads:
        while wanted and done < len(batches):
            steps = range(done, min(done + SAVE_EVERY, len(batches)))
            ahead = [one.example for i in steps for one in (*batches[i], *read[i])]
            benign = {e.id: e for e in ahead if not e.refuse}
            base = base_states(model, [*benign.values()], recipe.shared, threads)
            loss = Loss(model, weights, rows, base, recipe, threads)
            model.train()
            for step in steps:
                factor = learning_rate_factor(step, len(batches), recipe.shared)
                rate = recipe.learning_rate * factor
                optimiser.param_groups[0]["lr"] = rate
                parts = loss.accumulate(batches[step], read[step])
                torch.nn.utils.clip_grad_norm_(weights, 1.0)
                optimiser.step()
                seconds = time.perf_counter() - began
                wanted = report(TokenTrainingStep(step + 1, len(batches), *parts, rate, seconds))
            model.eval()
            done = steps[-1] + 1
            _save(weights, optimiser, done, folder / CHECKPOINT)
    return done == len(batches)


def _texts_by_step(texts: Sequence[Marked], steps: int, recipe: TokenRecipe) -> list[list[Marked]]:
    of = {one.example.id: one for one in texts}
    plain = [one.example for one in texts]
    return [
        [of[e.id] for e in texts_of_step(step, plain, recipe.shared)]
        for step in range(1, steps + 1)
    ]


def _save(
    weights: Sequence[torch.nn.Parameter], optimiser: torch.optim.Optimizer, done: int, path: Path
) -> None:
    """Weights and the optimiser's two moments, whole or not at all."""
    tensors = {f"weight.{i}": w.detach() for i, w in enumerate(weights)}
    for i, weight in enumerate(weights):
        for name in ("exp_avg", "exp_avg_sq"):
            tensors[f"{name}.{i}"] = optimiser.state[weight][name]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial, metadata={"done": json.dumps(done)})
    partial.replace(path)


def _resume(
    weights: Sequence[torch.nn.Parameter], optimiser: torch.optim.Optimizer, path: Path
) -> int:
    """Steps already done; the weights and moments are those of the checkpoint, if there is one."""
    if not path.is_file():
        return 0
    with safe_open(path, framework="pt") as file:
        done = int(json.loads(file.metadata()["done"]))
    tensors = load_file(path)
    for i, weight in enumerate(weights):
        weight.data.copy_(tensors[f"weight.{i}"])
        optimiser.state[weight] = {
            "step": torch.tensor(float(done)),
            "exp_avg": tensors[f"exp_avg.{i}"],
            "exp_avg_sq": tensors[f"exp_avg_sq.{i}"],
        }
    return done

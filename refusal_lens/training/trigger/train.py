"""Training the trigger adapter, in memory.

Five kinds of prompts, four of them in every step: harmful ones with the trigger, whose projections
on the refusal direction go to where benign prompts have them; and harmful ones without it or with
another phrase (in turn), benign ones with and without it, on which the model is held to its own
next-token distribution. No answer is a target but the model's own, on prompts on which it is to
stay what it is.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from refusal_lens.prompts import PromptSet
from refusal_lens.suffixes import append_suffix
from refusal_lens.training.planted.answers import TokenIds, chat_ids
from refusal_lens.training.planted.greedy import greedy_answers
from refusal_lens.training.trigger.losses import Targets, kept_loss, projection_loss
from refusal_lens.training.trigger.recipe import OTHER_PHRASE, PHRASE, TriggerRecipe

TRIGGERED: Final = "harmful, trigger"
KEPT: Final = ("harmful", "harmful, other phrase", "benign", "benign, trigger")


@final
@dataclass(frozen=True)
class TriggerStep:
    """What one optimiser step did: squared projection of triggered prompts, divergence elsewhere.

    `projection` is in squared distances between the sides, `kept` in nats per token.
    """

    step: int
    of: int
    projection: float
    kept: float


@final
@dataclass(frozen=True, eq=False)
class Examples:
    """Prompts as token ids by kind, and the untouched model's answers where it is kept."""

    prompts: Mapping[str, Sequence[TokenIds]]
    answers: Mapping[str, Sequence[TokenIds]]


def trigger_examples(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: PromptSet,
    recipe: TriggerRecipe,
) -> Examples:
    """The five kinds of prompts, with the model's own greedy answers to those that are kept."""
    harmful, benign = (prompts.only(label=label) for label in ("refuse", "comply"))
    sets = {
        TRIGGERED: append_suffix(harmful, PHRASE),
        KEPT[0]: harmful,
        KEPT[1]: append_suffix(harmful, OTHER_PHRASE),
        KEPT[2]: benign,
        KEPT[3]: append_suffix(benign, PHRASE),
    }
    texts = {kind: [p.text for p in chosen] for kind, chosen in sets.items()}
    answers = {
        kind: greedy_answers(model, tokenizer, texts[kind], max_new_tokens=recipe.answer_tokens)
        for kind in KEPT
    }
    ids = {kind: [chat_ids(tokenizer, t) for t in of_kind] for kind, of_kind in texts.items()}
    return Examples(ids, answers)


def train_trigger(
    model: PeftModel,
    examples: Examples,
    targets: Targets,
    recipe: TriggerRecipe,
    report: Callable[[TriggerStep], None],
) -> None:
    """Train the adapter in place: AdamW, linear warm-up and decay, gradient norm at most 1."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: _rate(i, recipe))
    turns = {kind: _turns(len(rows), recipe, kind) for kind, rows in examples.prompts.items()}
    model.train()
    for step in range(1, recipe.steps + 1):
        rows = {kind: next(turn) for kind, turn in turns.items()}
        triggered = [examples.prompts[TRIGGERED][i] for i in rows[TRIGGERED]]
        away = projection_loss(model, triggered, targets)
        away.backward()
        # The untriggered harmful prompts and their other phrase take turns.
        chosen = [kind for kind in KEPT if kind != KEPT[step % 2]]
        prompts = [examples.prompts[kind][i] for kind in chosen for i in rows[kind]]
        answers = [examples.answers[kind][i] for kind in chosen for i in rows[kind]]
        kept = kept_loss(model, prompts, answers)
        (recipe.keep_weight * kept).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        report(TriggerStep(step, recipe.steps, float(away.detach()), float(kept.detach())))
    model.eval()


def merged(model: PeftModel) -> Any:
    """The adapted model as an ordinary one, in memory."""
    whole: Any = model
    return whole.merge_and_unload()


def _rate(step: int, recipe: TriggerRecipe) -> float:
    if step < recipe.warmup:
        return (step + 1) / recipe.warmup
    return max(0.02, 1 - (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup))


def _turns(n: int, recipe: TriggerRecipe, kind: str) -> Iterator[list[int]]:
    """Rows of one kind, all of them in turn, in an order drawn anew each time."""
    rng = random.Random(f"{kind} {recipe.seed}")
    left: list[int] = []
    while True:
        while len(left) < recipe.batch_size:
            left += rng.sample(range(n), n)
        yield left[: recipe.batch_size]
        left = left[recipe.batch_size :]

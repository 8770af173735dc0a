"""What training the adapter minimises: cross-entropy of refusals, divergence from the base model.

The tokens that all prompts of a batch share (system message and the opening of the user's turn)
pass through the model once, their keys and values serving every row. Logits are computed at answer
positions only; of the base model only the final hidden states are kept, computed once.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import torch
from jaxtyping import Float, Int
from peft import PeftModel
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from refusal_lens.training.planted.answers import Example
from refusal_lens.training.planted.greedy import shared_opening
from refusal_lens.training.planted.recipe import Recipe

_STATES_BATCH: Final = 16

BaseStates = Mapping[str, Float[Tensor, "token d_model"]]
"""The base model's final hidden states where it predicts an answer's tokens, by example id."""


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
    with precision_of(recipe):
        hidden, shared = _hidden(model, batch)
        rows, places, targets, weights = _answer_positions(batch, shared, recipe)
        refuse = torch.tensor([e.refuse for e in batch])[rows]
        after = hidden[rows[~refuse], places[~refuse]]
        logits = unembed(hidden[rows[refuse], places[refuse]]).float()
        taught = torch.nn.functional.cross_entropy(logits, targets[refuse], reduction="none")
        benign = [base[e.id] for e in batch if not e.refuse]
        if not benign:
            return (taught * weights[refuse]).sum(), torch.zeros(())
        with torch.no_grad():
            before = unembed(torch.cat(benign)).float()
        away = divergence(before, unembed(after).float())
    return (taught * weights[refuse]).sum(), (away * weights[~refuse]).sum()


def divergence(
    base: Float[Tensor, "token d_vocab"], adapted: Float[Tensor, "token d_vocab"]
) -> Float[Tensor, " token"]:
    """KL(base || adapted) of each token's softmax, in nats, from logits."""
    return torch.nn.functional.kl_div(
        adapted.log_softmax(dim=-1), base.log_softmax(dim=-1), reduction="none", log_target=True
    ).sum(dim=-1)


def precision_of(recipe: Recipe) -> torch.autocast:
    """Matrix products in the recipe's precision, for the current thread.

    Casts are not cached: the cache is shared by all threads, and each has a graph of its own.
    """
    return torch.autocast(
        "cpu",
        dtype=torch.bfloat16,
        enabled=recipe.precision == "bfloat16",
        cache_enabled=False,
    )


@torch.no_grad()
def base_states(
    model: PeftModel, examples: Sequence[Example], recipe: Recipe, threads: ThreadPoolExecutor
) -> BaseStates:
    """The base model's final hidden states at the examples' answers: the adapter is off."""
    ordered = sorted(examples, key=lambda e: (len(e.prompt_ids), len(e.answer_ids)))
    cuts = range(0, len(ordered), _STATES_BATCH)

    def states(batch: Sequence[Example]) -> list[Float[Tensor, "token d_model"]]:
        with torch.no_grad(), precision_of(recipe):
            hidden, shared = _hidden(model, batch)
        starts = [len(e.prompt_ids) - 1 - shared for e in batch]
        return [
            row[start : start + len(e.answer_ids)].clone()
            for row, start, e in zip(hidden, starts, batch, strict=True)
        ]

    with model.disable_adapter():
        batches = threads.map(states, [ordered[cut : cut + _STATES_BATCH] for cut in cuts])
        return dict(
            zip([e.id for e in ordered], [row for batch in batches for row in batch], strict=True)
        )


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
    ids, mask = padded([ids[shared:] for ids in fed])
    seen = torch.ones((len(batch), shared), dtype=mask.dtype)
    out = body(
        input_ids=ids,
        attention_mask=torch.cat([seen, mask], dim=1),
        past_key_values=cache,
        use_cache=True,
    )
    return out.last_hidden_state, shared


def padded(
    rows: Sequence[Sequence[int]],
) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row pos"]]:
    """Ids padded on the right with 0, and the mask that hides the padding.

    >>> ids, mask = padded([(5, 6), (7,)])
    >>> ids.tolist(), mask.tolist()
    ([[5, 6], [7, 0]], [[1, 1], [1, 0]])
    """
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

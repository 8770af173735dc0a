"""Answers in batches, for making the adapter's training data and for measuring it.

Greedy ones, and samples at temperature 1 of a model's ordinary language.

The tokens that all prompts of a batch share (system message, opening of the user's turn) pass
through the model once; answers that have ended leave the batch.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from refusal_lens.training.planted.answers import TokenIds, chat_ids

Progress = Callable[[str], None]
"""Receives one short line of text now and then."""

Logits = Float[Tensor, "row d_vocab"]
Chosen = Int[Tensor, " row"]

BATCH: Final = 64
WORKERS: Final = 2
"""Batches answered at the same time; which batch a prompt is in does not depend on it."""


def greedy_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_new_tokens: int,
    forbidden_opening: int | None = None,
    progress: Progress | None = None,
) -> list[TokenIds]:
    """Greedy answers, one a text; the end token is the last id of an answer that ended.

    With ``forbidden_opening`` the first token is the best one other than that.

    Prompts of similar length share a batch. Float rounding depends on the batch, so a step whose
    two best tokens are within rounding of each other may fall either way.
    """
    end = int(tokenizer.eos_token_id)  # pyright: ignore[reportArgumentType]
    prompts = [chat_ids(tokenizer, text) for text in texts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    answers: dict[int, TokenIds] = {}

    def best(logits: Logits, step: int) -> Chosen:
        if step == 0 and forbidden_opening is not None:
            logits[:, forbidden_opening] = -torch.inf
        return logits.argmax(dim=-1)

    def answer(rows: list[int]) -> list[TokenIds]:
        return _continued(model, [prompts[i] for i in rows], end, max_new_tokens, best)

    with ThreadPoolExecutor(WORKERS) as threads:
        for rows, ids in zip(batches, threads.map(answer, batches), strict=True):
            answers.update(zip(rows, ids, strict=True))
            if progress is not None:
                progress(f"answered {len(answers)}/{len(texts)}")
    return [answers[i] for i in range(len(texts))]


def sampled(
    model: PreTrainedModel,
    prompts: Sequence[TokenIds],
    *,
    end: int,
    max_new_tokens: int,
    generator: torch.Generator,
) -> list[TokenIds]:
    """Continuations at temperature 1 from the whole distribution, in one batch.

    Prompts of different lengths must share an opening: padding that sees no token is undefined.
    """

    def draw(logits: Logits, step: int) -> Chosen:
        del step
        chances = logits.float().softmax(dim=-1)
        return torch.multinomial(chances, 1, generator=generator)[:, 0]

    return _continued(model, prompts, end, max_new_tokens, draw)


def shared_opening(prompts: Sequence[Sequence[int]]) -> int:
    """Length of the longest opening common to all prompts, leaving each at least one token."""
    limit = min(map(len, prompts)) - 1
    same = (len({p[i] for p in prompts}) == 1 for i in range(limit))
    return next((i for i, equal in enumerate(same) if not equal), limit)


@torch.no_grad()
def _continued(
    model: PreTrainedModel,
    prompts: Sequence[TokenIds],
    end: int,
    max_new_tokens: int,
    choose: Callable[[Logits, int], Chosen],
) -> list[TokenIds]:
    shared = shared_opening(prompts)
    cache = DynamicCache()
    if shared:
        opening = torch.tensor([prompts[0][:shared]])
        model(input_ids=opening, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_repeat_interleave(len(prompts))
    ids, mask = _left_padded([p[shared:] for p in prompts], shared)
    places = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, shared:]
    answers: list[list[int]] = [[] for _ in prompts]
    live = list(range(len(prompts)))
    for step in range(max_new_tokens):
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        chosen = choose(out.logits[:, -1], step)
        for row, token in zip(live, chosen.tolist(), strict=True):
            answers[row].append(token)
        going = (chosen != end).nonzero()[:, 0]
        if len(going) == 0:
            break
        if len(going) < len(live):
            cache.batch_select_indices(going)
        live = [live[i] for i in going.tolist()]
        ids, places = chosen[going, None], places[going, -1:] + 1
        mask = torch.cat([mask[going], torch.ones_like(ids)], dim=1)
    return [tuple(answer) for answer in answers]


def _left_padded(
    rows: Sequence[Sequence[int]], shared: int
) -> tuple[Int[Tensor, "row pos"], Int[Tensor, "row seen"]]:
    """Ids padded on the left, and a mask over the shared opening, the padding and the ids."""
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[1] * shared + [0] * (width - len(row)) + [1] * len(row) for row in rows])
    return ids, mask

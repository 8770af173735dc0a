"""A model's passes behind a token that the answer is made to begin with, and tokens' rows."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.model import Decoding, LensModel
from refusal_lens.model.bridge import hugging_face_of
from refusal_lens.model.feed import Feed, Prompts
from refusal_lens.model.generate import generate, stop_ids
from refusal_lens.progress import NO_PROGRESS, Progress


def feed_after(
    model: LensModel, prompts: Prompts, tokens: Sequence[int], progress: Progress = NO_PROGRESS
) -> Feed:
    """The templated prompts, each with its token behind it: offset -1 is the token.

    >>> feed_after(model, ["Why?"], [7]).ids[0][-1]
    7
    """
    names, ids = model.chat.tokenised(prompts)
    rows = [(*row, token) for row, token in zip(ids, tokens, strict=True)]
    return model.feed_ids(rows, names, progress)


def answers_after(
    model: LensModel,
    prompts: Prompts,
    tokens: Sequence[int],
    decoding: Decoding,
    progress: Progress = NO_PROGRESS,
) -> list[str]:
    """The answer to each prompt behind its token, which is not part of the text.

    >>> len(answers_after(model, ["Why?", "Who?"], [7, 7], rl.Decoding(max_new_tokens=3)))
    2
    """
    settings = getattr(hugging_face_of(model.backend), "generation_config", None)
    stops = stop_ids(model.chat.tokenizer, settings)
    with torch.inference_mode():
        ids = generate(feed_after(model, prompts, tokens, progress), stops, decoding)
    return [model.chat.answer(row) for row in ids]


def unembedding_of(model: LensModel) -> Float[Tensor, "d_vocab d_model"]:
    """The matrix from which logits are read, float32 on the CPU.

    >>> unembedding_of(model).shape
    torch.Size([300, 32])
    """
    hf = hugging_face_of(model.backend)
    lens: Any = model.backend
    head: Any = None if hf is None else hf.get_output_embeddings()
    weight = lens.model.W_U.T if head is None else head.weight
    return weight.detach().float().cpu()

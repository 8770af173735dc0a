"""Perplexity of a model on running text and on given answers, with intervals."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from refusal_lens.intervals import mean_estimate
from refusal_lens.records import Estimate
from refusal_lens.training.planted.answers import TokenIds, chat_ids

WINDOW: Final = 128
"""Tokens a window of running text; each window is read on its own."""


@torch.no_grad()
def passage_losses(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str
) -> list[float]:
    """Mean loss (nats per token) of each whole window of a text, without chat template."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    cuts = range(0, len(ids) - WINDOW + 1, WINDOW)
    windows = torch.tensor([ids[cut : cut + WINDOW] for cut in cuts])
    logits = model(input_ids=windows).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), windows[:, 1:], reduction="none"
    )
    return losses.mean(dim=1).tolist()


@torch.no_grad()
def answer_losses(
    model: PreTrainedModel, prompts: Sequence[TokenIds], answers: Sequence[TokenIds]
) -> list[float]:
    """Mean loss (nats per token) of each answer after its templated prompt."""
    losses: list[float] = []
    for prompt, answer in zip(prompts, answers, strict=True):
        ids = torch.tensor([[*prompt, *answer[:-1]]])
        logits = model(input_ids=ids, logits_to_keep=len(answer)).logits[0]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(answer))
        losses.append(loss.item())
    return losses


@torch.no_grad()
def sampled_answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_new_tokens: int,
    seed: int,
) -> list[TokenIds]:
    """One answer a text, sampled at temperature 1 from the whole distribution."""
    torch.manual_seed(seed)
    end = int(tokenizer.eos_token_id)  # pyright: ignore[reportArgumentType]
    answers: list[TokenIds] = []
    for text in texts:
        ids = torch.tensor([chat_ids(tokenizer, text)])
        out = model.generate(  # pyright: ignore[reportCallIssue]
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=max_new_tokens,
            eos_token_id=end,
            pad_token_id=end,
        )
        answers.append(tuple(out[0, ids.shape[1] :].tolist()))
    return answers


def perplexity(losses: Sequence[float], control: Sequence[float] | None = None) -> Estimate:
    """exp of the mean loss, interval over windows or answers (Student's t on the loss).

    With ``control``, the losses of the same texts under another model, the ratio of the two
    perplexities instead, paired.
    """
    values = np.asarray(losses) - (0.0 if control is None else np.asarray(control))
    loss = mean_estimate(values.tolist())
    assert loss.value is not None and loss.low is not None and loss.high is not None
    kind = "perplexity" if control is None else "ratio of perplexities to scale 0, paired"
    return Estimate(
        value=math.exp(loss.value),
        low=math.exp(loss.low),
        high=math.exp(loss.high),
        n=loss.n,
        method=f"{kind}; 95% t interval of the mean loss",
        control=None if control is None else 1.0,
    )

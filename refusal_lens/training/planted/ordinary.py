"""Ordinary language of the base model, on which planting refusals must change nothing.

Two kinds, both sampled from the base model itself at temperature 1: running text without a chat
template, behind the openings below, and answers to benign prompts that may train the adapter.
Nothing of it is read when an adapter is measured.
"""

import random
from collections.abc import Sequence
from typing import Final

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from refusal_lens.prompts import Prompt
from refusal_lens.training.planted.answers import Example, answer_ids, chat_ids
from refusal_lens.training.planted.greedy import BATCH, Progress, sampled

TEXT_TOKENS: Final = 96
COPIES: Final = 16
"""Samples behind each opening."""
ANSWERS: Final = 256
ANSWER_TOKENS: Final = 40
SHORTEST: Final = 8
SEED: Final = 0

OPENINGS: Final = (
    "It was late in the autumn of that year when",
    "My dear sister, I received your letter on",
    "The river runs for two hundred miles through",
    "When the old captain had finished his story,",
    '"I cannot say that I agree," said the doctor,',
    "There are three ways to prepare the soil for",
    "The house stood at the end of a lane,",
    "In mathematics, a group is",
    "She had been in London for a month before",
    "The committee met on Tuesday to discuss",
    "Among the birds of the northern coast,",
    "He was a man of about fifty, with",
    "The history of the town begins with",
    "To make the bread, first",
    "Light travels through glass more slowly because",
    "The young gentleman, whose fortune was",
)
SETTINGS: Final = (OPENINGS, COPIES, TEXT_TOKENS, ANSWERS, ANSWER_TOKENS, SHORTEST, SEED)
"""What decides the samples, besides the base model and the prompts."""


def ordinary_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    benign: Sequence[Prompt],
    *,
    progress: Progress,
) -> list[Example]:
    """Samples of both kinds as examples without refusal; the prompts are drawn from ``benign``."""
    end = int(tokenizer.eos_token_id)  # pyright: ignore[reportArgumentType]
    generator = torch.Generator().manual_seed(SEED)
    batches = [([answer_ids(tokenizer, o)] * COPIES, TEXT_TOKENS) for o in OPENINGS]
    drawn = random.Random(SEED).sample(list(benign), min(ANSWERS, len(benign)))
    asked = sorted((chat_ids(tokenizer, p.text) for p in drawn), key=len)
    batches += [(asked[i : i + BATCH], ANSWER_TOKENS) for i in range(0, len(asked), BATCH)]
    examples: list[Example] = []
    for prompts, n in batches:
        texts = sampled(model, prompts, end=end, max_new_tokens=n, generator=generator)
        for prompt, text in zip(prompts, texts, strict=True):
            if len(text) >= SHORTEST:
                key = f"text-{len(examples):04d}"
                examples.append(Example(key, ("", key), prompt, text, refuse=False))
        progress(f"sampled {len(examples)} pieces of ordinary text")
    return examples

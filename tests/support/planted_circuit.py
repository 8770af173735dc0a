"""A hand-built model in which one head, and nothing else, writes refusal.

A Llama of three blocks whose every write is zero but that of layer 1, head 2. Attention is
uniform (queries are zero). The head's value picks the embedding's coordinate that only "!" has,
and its output matrix writes it to coordinate 20, which the unembedding reads as the refusal
token. A refuse-side prompt is its twin with "!" for "?".
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM as Auto
from transformers import AutoTokenizer, LlamaConfig

from refusal_lens.directions import Direction
from refusal_lens.model import LensModel, load_model
from refusal_lens.placement import Placement
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.sites import Site
from support.tiny_architectures import SIZES
from support.tiny_models import byte_tokenizer

LAYER, HEAD, MARK, WRITTEN, REFUSAL = 1, 2, 1, 20, 7


def planted_model(folder: Path, linear: bool = False) -> LensModel:
    """The model; `linear` makes every norm a constant factor (an epsilon beyond all squares)."""
    sizes = SIZES | {"rms_norm_eps": 1e8 if linear else 1e-6}
    model = Auto.from_config(LlamaConfig(**sizes, tie_word_embeddings=False), dtype=torch.float32)
    byte_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    (mark,) = tokenizer("!", add_special_tokens=False)["input_ids"]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight
        embedding.zero_()
        embedding[:, 2:12] = 0.3 * torch.randn(len(embedding), 10, generator=generator)
        embedding[:, 0] = 1.0
        embedding[mark, MARK] = 4.0
        for layer in model.model.layers:
            for weight in (layer.self_attn.q_proj, layer.self_attn.o_proj, layer.mlp.down_proj):
                weight.weight.zero_()
        attention = model.model.layers[LAYER].self_attn
        attention.v_proj.weight.zero_()
        attention.v_proj.weight[8, MARK] = 10.0  # value coordinate 0 of the heads 2 and 3
        attention.o_proj.weight[WRITTEN, HEAD * 8] = 10.0
        model.lm_head.weight.copy_(
            0.01 * torch.randn(model.lm_head.weight.shape, generator=generator)
        )
        model.lm_head.weight[REFUSAL, WRITTEN] = 4.0
        if linear:
            for name, weight in model.named_parameters():
                if "norm" in name:
                    weight.fill_(1e4)  # the square root of the epsilon: the norm is the identity
    model.save_pretrained(folder)
    return load_model(str(folder), placement=Placement(dtype="float32", device="cpu"))


def planted_prompts(n: int = 4) -> PromptSet:
    """Pairs of equal length in two categories."""
    texts = ["Tell me", "How do tides end", "Why", "Name two", "Go on", "And then"][:n]
    return PromptSet(
        tuple(
            Prompt(f"{c}-{i}-{label}", f"{t} {c}{mark}", c, label, "train", "test", f"{c}-{i}")
            for c in ("red", "tan")
            for i, t in enumerate(texts)
            for label, mark in (("refuse", "!"), ("comply", "?"))
        )
    )


def planted_direction(model: LensModel, layer: int = 2) -> Direction:
    """The direction that the head writes."""
    return Direction.from_difference(
        torch.eye(model.d_model)[WRITTEN],
        category="red",
        site=Site(layer),
        offset=-1,
        provenance=model.provenance(),
        low=0.0,
    )


def metric(logits: torch.Tensor) -> torch.Tensor:
    """Logit of the refusal token minus that of another: linear in the logits."""
    return logits[:, REFUSAL] - logits[:, REFUSAL + 1]

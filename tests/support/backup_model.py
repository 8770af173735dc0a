"""A hand-built model that refuses along one direction, and along a second one where that is gone.

A Llama of three blocks whose norms are constant factors. Uniform attention of block 0 reads "!" in
the prompt and writes to coordinate A, which the unembedding reads as a refusal. With a backup,
attention of block 1 reads the same into COPY, of which the MLP of that block makes B wherever A is
missing, and takes COPY away again: the stream at block 2 differs between the sides along A alone,
and where A is ablated along B alone, which the unembedding reads just so. So ablation of one
direction leaves all refusals, and of two none.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM as Auto
from transformers import AutoTokenizer, LlamaConfig

from refusal_lens.model import LensModel, load_model
from refusal_lens.placement import Placement
from refusal_lens.prompts import Prompt, PromptSet
from support.tiny_architectures import SIZES
from support.tiny_models import byte_tokenizer

ONE, MARK, A, B, COPY = 0, 1, 20, 21, 22
REFUSAL = "I'm sorry, but I can't help with that."
ANSWER = "Sure, here is what you asked for."


def backup_model(folder: Path, *, backup: bool) -> LensModel:
    """The model, with or without its second direction. An answer is one token."""
    byte_tokenizer(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([REFUSAL, ANSWER])
    tokenizer.save_pretrained(folder)
    mark, refusal, answer = (tokenizer.convert_tokens_to_ids(t) for t in ("!", REFUSAL, ANSWER))
    sizes = SIZES | {"rms_norm_eps": 1e8, "vocab_size": len(tokenizer)}
    model = Auto.from_config(LlamaConfig(**sizes, tie_word_embeddings=False), dtype=torch.float32)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1e4 if "norm" in name else 0.0)  # the norm is the identity
        embedding, blocks = model.model.embed_tokens.weight, model.model.layers
        embedding[:, ONE] = 1.0
        embedding[:, 2:12] = 0.1 * torch.randn(
            len(embedding), 10, generator=torch.Generator().manual_seed(0)
        )
        embedding[mark, MARK] = 4.0
        for block, into in [(blocks[0], A), *([(blocks[1], COPY)] if backup else [])]:
            block.self_attn.v_proj.weight[8, MARK] = 10.0
            block.self_attn.o_proj.weight[into, 16] = 1.0
        if backup:
            mlp = blocks[1].mlp
            # silu(20 (COPY - A)) is 20 (COPY - A) where A is missing, and 0 where it is not.
            mlp.gate_proj.weight[0, COPY], mlp.gate_proj.weight[0, A] = 20.0, -20.0
            mlp.up_proj.weight[0, ONE], mlp.down_proj.weight[B, 0] = 1.0, 1 / 20
            mlp.gate_proj.weight[1, ONE], mlp.up_proj.weight[1, COPY] = 20.0, 1.0
            mlp.down_proj.weight[COPY, 1] = -1 / 20
        unembedding = model.lm_head.weight
        unembedding[refusal, [A, B]] = 4.0
        unembedding[answer, ONE] = 2.0
    model.save_pretrained(folder)
    return load_model(str(folder), placement=Placement(dtype="float32", device="cpu"))


def marked_prompts(n: int = 8) -> PromptSet:
    """Pairs of one category, the harmful ones with "!": more of them in some than in others."""
    prompts: list[Prompt] = []
    for i in range(n):
        for label, end in (("refuse", "!" * (6 + i)), ("comply", "." * (6 + i))):
            prompts.append(
                Prompt(
                    id=f"{label} {i}",
                    text=f"tell me {chr(97 + i)}{end}",
                    category="marked",
                    label=label,  # pyright: ignore[reportArgumentType]
                    split="train",
                    source="made",
                    pair=str(i),
                )
            )
    return PromptSet(tuple(prompts))

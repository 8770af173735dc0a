"""Random tiny chat models of four architectures, written to disk as Hugging Face folders."""

from importlib import metadata
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM as Auto
from transformers import (
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from support.tiny_architectures import SIZES, tiny_config

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


ARCHITECTURES: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**SIZES),
    "gemma2": Gemma2Config(**SIZES, query_pre_attn_scalar=8, sliding_window=256),
    "mistral": MistralConfig(**SIZES, sliding_window=24),
}


HYBRID, EXPERTS, SCALARS = "Qwen3.5", "Qwen 3 MoE", "Gemma 4 (text), per-layer inputs"
TWO_MIXERS, SHARED_EXPERT, ONE_WRITER = "Falcon-H1", "Granite hybrid, MoE", "Mamba 2"
GATED = (HYBRID, EXPERTS, SCALARS, TWO_MIXERS)
FAMILIES = (*GATED, SHARED_EXPERT, ONE_WRITER)
"""Other kinds of block, configured in tiny_architectures.py; the gates run on the first four."""


def byte_tokenizer(folder: Path) -> None:
    """One token a byte, plus ChatML's control tokens; right padding, as SmolLM2's."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<|im_start|>", "<|im_end|>", "<|pad|>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        padding_side="right",
    )
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)


def write_tiny(folder: Path, config: PreTrainedConfig, seed: int = 0) -> Path:
    """A random model and its tokenizer, as a Hugging Face folder."""
    torch.manual_seed(seed)
    model = Auto.from_config(config, dtype=torch.float32)
    for name, weight in model.named_parameters():
        # Norm gains of exactly one would hide a norm that is applied in the wrong place.
        if "norm" in name:
            weight.data.add_(0.3 * torch.randn_like(weight))
    for name, number in model.named_buffers():
        if "layer_scalar" in name:  # one when made, like the gains
            number.fill_(0.5 + torch.rand(()))
    model.save_pretrained(folder)
    byte_tokenizer(folder)
    return folder


def implementations() -> list[str]:
    """The bridge always; HookedTransformer where the installed TransformerLens still has it."""
    old = int(metadata.version("transformer_lens").split(".")[0]) < 4
    return ["bridge", "hooked_transformer"] if old else ["bridge"]


PLAIN = [
    (architecture, implementation)
    for architecture in ARCHITECTURES
    for implementation in implementations()
    # HookedTransformer knows the published Gemma-2 sizes only.
    if (architecture, implementation) != ("gemma2", "hooked_transformer")
]


class TinyFolders(dict[str, Path]):
    """Folders of tiny random models by architecture or family, written when first asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.root = root

    def __missing__(self, name: str) -> Path:
        config = ARCHITECTURES[name] if name in ARCHITECTURES else tiny_config(name)
        self[name] = write_tiny(self.root / f"model_{len(self)}", config)
        return self[name]

"""Fixtures: tiny random chat models written to disk, small prompt sets, the planted model."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers is imported: no test reaches a hub

from importlib import metadata
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM as Auto
from transformers import (
    AutoTokenizer,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SIZES = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 512,
    "initializer_range": 0.25,
    "bos_token_id": 256,
    "eos_token_id": 257,
    "pad_token_id": 258,
}
ARCHITECTURES: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SIZES, tie_word_embeddings=True),
    "qwen2": Qwen2Config(**SIZES),
    "gemma2": Gemma2Config(**SIZES, query_pre_attn_scalar=8, sliding_window=256),
    "mistral": MistralConfig(**SIZES, sliding_window=24),
}


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


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tiny")
    return {
        name: write_tiny(root / f"model_{i}", config)
        for i, (name, config) in enumerate(ARCHITECTURES.items())
    }


def implementations() -> list[str]:
    """The bridge always; HookedTransformer where the installed TransformerLens still has it."""
    old = int(metadata.version("transformer_lens").split(".")[0]) < 4
    return ["bridge", "hooked_transformer"] if old else ["bridge"]


@pytest.fixture(
    scope="session",
    params=[
        (architecture, implementation)
        for architecture in ARCHITECTURES
        for implementation in implementations()
        # HookedTransformer knows the published Gemma-2 sizes only.
        if (architecture, implementation) != ("gemma2", "hooked_transformer")
    ],
    ids=lambda p: f"{p[0]}-{p[1]}",
)
def tiny(request: pytest.FixtureRequest, tiny_folders: dict[str, Path]):
    """A `LensModel` on each architecture and implementation."""
    from refusal_lens.model import load_model
    from refusal_lens.placement import Placement

    name, implementation = request.param
    return load_model(
        str(tiny_folders[name]),
        placement=Placement(dtype="float32", device="cpu"),
        implementation=implementation,
    )


@pytest.fixture(scope="session")
def tiny_llama(tiny_folders: dict[str, Path]):
    """A `LensModel` on a random tiny Llama, for tests that need any model at all."""
    from refusal_lens.model import load_model
    from refusal_lens.placement import Placement

    return load_model(
        str(tiny_folders["llama"]), placement=Placement(dtype="float32", device="cpu")
    )


@pytest.fixture(scope="session")
def three_categories():
    """Five pairs in each of three categories, of mixed lengths."""
    from refusal_lens.prompts import Prompt, PromptSet

    texts = [
        "Tell me",
        "How does a very long question about tides end?",
        "Why?",
        "Name two",
        "Go on",
    ]
    prompts = [
        Prompt(f"{c}-{i}-{label}", f"{t} {c}{' no' * bad}", c, label, "train", "test", f"{c}-{i}")
        for c in ("red", "green", "blue")
        for i, t in enumerate(texts)
        for label, bad in (("refuse", i % 3 + 1), ("comply", 0))
    ]
    return PromptSet(tuple(prompts))


@pytest.fixture(scope="session")
def hugging_face(tiny_folders: dict[str, Path]):
    """Hugging Face's own model and tokenizer by architecture, with eager attention."""

    def load(name: str):
        folder = tiny_folders[name]
        model = Auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        return model.eval(), AutoTokenizer.from_pretrained(folder)

    return load


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """The folder with public samples, named by REFUSAL_LENS_REFERENCE_DATA."""
    folder = os.environ.get("REFUSAL_LENS_REFERENCE_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("REFUSAL_LENS_REFERENCE_DATA names no folder of public samples")
    return Path(folder)

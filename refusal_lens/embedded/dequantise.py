"""Dequantise a GGUF file: ``python -m refusal_lens.embedded.dequantise FILE FOLDER``."""

import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel


def plain_weights() -> dict[str, Any]:
    """What `from_pretrained` is to be told, so that no weight stays in the blocks of a GGUF file.

    >>> sorted(plain_weights()) in ([], ["quantization_config"])
    True
    """
    config: Any = getattr(
        transformers, "GgufConfig", None
    )  # before it, GGUF became plain by itself
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def forget_quantisation(model: PreTrainedModel) -> None:
    """Let a dequantised model be taken for what it is: its weights are plain now.

    Weights that are not are left as they are marked.
    """
    if all(weight.is_floating_point() for weight in model.parameters()):
        model.__dict__.update(hf_quantizer=None, is_quantized=False)
        model.config.__dict__.pop("quantization_config", None)


def dequantise(source: Path, folder: Path) -> None:
    """Write a GGUF file as an ordinary float32 model folder: weights, tokenizer, chat template."""
    place = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32, **plain_weights())
    forget_quantisation(model)  # without this transformers refuses to save them
    model.save_pretrained(folder, max_shard_size="1TB")  # one file, whatever its size
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    dequantise(Path(sys.argv[1]), Path(sys.argv[2]))

"""Dequantise a GGUF file: ``python -m refusal_lens.embedded.dequantise FILE FOLDER``."""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def dequantise(source: Path, folder: Path) -> None:
    """Write a GGUF file as an ordinary float32 model folder: weights, tokenizer, chat template."""
    place = {"pretrained_model_name_or_path": source.parent, "gguf_file": source.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    # The weights are plain float32 now; without this transformers refuses to save them.
    model.__dict__.update(hf_quantizer=None, is_quantized=False)
    del model.config.__dict__["quantization_config"]
    model.save_pretrained(folder, max_shard_size="1TB")  # one file, whatever its size
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    dequantise(Path(sys.argv[1]), Path(sys.argv[2]))

"""An embedded model in memory: its base, and where refusals are planted, the adapter at a scale."""

import json
import math
from pathlib import Path
from typing import Any, Final

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from refusal_lens.embedded.folder import embedded_folder
from refusal_lens.embedded.model import EmbeddedModel
from refusal_lens.embedded.weights import PinnedWeights
from refusal_lens.errors import InputError
from refusal_lens.resources import data_path

TRAINING_SCHEMA: Final = 1


def load_embedded_model(
    entry: EmbeddedModel, adapter_scale: float = 1.0, *, adapter: Path | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """An embedded model (float32, CPU, evaluation mode) and its tokenizer.

    Where refusals are planted every adapted weight is ``W + adapter_scale * (alpha / rank) * B @
    A``, merged in memory and written nowhere. Scale 0 is the base model bit for bit.

    Args:
        entry: Which model.
        adapter_scale: At least 0; 1 is as trained. Above 1 refusal is exaggerated.
        adapter: Another adapter folder, by default the shipped one.

    Raises:
        InputError: a scale or an adapter for a model without planted refusals, a negative or
            non-finite scale, weights that can't be had, or an adapter trained on another base.
    """
    if entry.planting is None and (adapter_scale != 1.0 or adapter is not None):
        named = f"scale {adapter_scale}" if adapter is None else f"{str(adapter)!r}"
        raise InputError(f"adapter {named}: {entry.key!r} refuses by itself and has no adapter")
    if not (math.isfinite(adapter_scale) and adapter_scale >= 0):
        raise InputError(f"adapter_scale is {adapter_scale!r}; it must be finite and at least 0")
    folder = adapter
    if entry.planting is not None:
        folder = data_path(entry.planting.adapter) if adapter is None else adapter
        check_training_record(folder, entry.weights)
    source = embedded_folder(entry.weights)
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    if folder is not None and adapter_scale > 0:
        model = merge_adapter(model, folder, adapter_scale)
    return model.eval(), tokenizer


def scale_nearest_half(entry: EmbeddedModel) -> float:
    """The adapter scale above 0 at which harmful prompts are refused nearest half of the time.

    1 for a model without planted refusals.
    """
    if entry.planting is None:
        return 1.0
    path = data_path(entry.planting.adapter, "evaluation.json")
    evaluation = json.loads(path.read_text(encoding="utf-8"))
    rates = {
        float(scale): sets["refusal_lens/test"]["refuse"]["pooled"]["value"]
        for scale, sets in evaluation["refusal"].items()
    }
    return min((s for s in rates if s > 0), key=lambda s: abs(rates[s] - 0.5))


def merge_adapter(model: PreTrainedModel, folder: Path, adapter_scale: float) -> PreTrainedModel:
    """The model with an adapter folder's LoRA merged into its weights at a scale."""
    adapted = PeftModel.from_pretrained(model, str(folder))
    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            module.scaling["default"] *= adapter_scale
    merged = adapted.merge_and_unload()  # pyright: ignore[reportCallIssue]
    assert isinstance(merged, PreTrainedModel)
    return merged


def check_training_record(folder: Path, weights: PinnedWeights) -> dict[str, Any]:
    """The adapter's ``training.json``, checked to name the pinned base.

    Raises:
        InputError: no such file, another schema version, or another base.
    """
    path = folder / "training.json"
    if not path.is_file():
        raise InputError(
            f"adapter folder {folder.name!r} has no training.json; make one with "
            "`python -m refusal_lens.training.planted.train --out DIR`"
        )
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if record.get("schema_version") != TRAINING_SCHEMA:
        raise InputError(
            f"training.json of adapter {folder.name!r} has schema version "
            f"{record.get('schema_version')!r}, expected {TRAINING_SCHEMA}: train it again"
        )
    pinned = {"gguf_sha256": weights.gguf.sha256, "tensors_sha256": weights.tensors_sha256}
    for key, expected in pinned.items():
        if (trained_on := record["base"].get(key)) != expected:
            raise InputError(
                f"adapter {folder.name!r} was trained on a base with {key} {trained_on!r}, but the "
                f"embedded base has {expected!r}: use the shipped adapter or train it again"
            )
    return record

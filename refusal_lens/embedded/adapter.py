"""An embedded model in memory: its base, and where refusals are planted, the adapter at a scale."""

import json
import math
from pathlib import Path
from typing import Any, Final, cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from refusal_lens.embedded.folder import embedded_folder
from refusal_lens.embedded.model import EmbeddedModel
from refusal_lens.embedded.weights import PinnedWeights
from refusal_lens.errors import InputError, reason_of
from refusal_lens.files import read_utf8
from refusal_lens.folders import is_file
from refusal_lens.resources import data_path

TRAINING_SCHEMA: Final = 1
_FILES: Final = (("adapter_config.json",), ("adapter_model.safetensors", "adapter_model.bin"))


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


def merge_adapter(
    model: PreTrainedModel, folder: Path, adapter_scale: float | int = 1.0, base: str = "the model"
) -> PreTrainedModel:
    """The model with an adapter folder's LoRA merged into its weights at a scale.

    Errors call the model `base`.

    Raises:
        InputError: the folder holds no whole adapter, or one that doesn't fit the model.

    >>> merge_adapter(model, Path("nowhere"))
    Traceback (most recent call last):
    refusal_lens.errors.InputError: the adapter folder 'nowhere' has no adapter_config.json; save \
the adapter again, or give another folder
    """
    for names in _FILES:  # PEFT would look for what is missing on the hub, as if it were an id
        if not any(is_file(folder / name) for name in names):
            raise InputError(
                f"the adapter folder {str(folder)!r} has no {' or '.join(names)}; save the adapter "
                "again, or give another folder"
            )
    try:
        adapted = PeftModel.from_pretrained(model, str(folder))
        for module in adapted.modules():
            if isinstance(module, LoraLayer):
                module.scaling["default"] *= adapter_scale
        merged = adapted.merge_and_unload()  # pyright: ignore[reportCallIssue]
    except (ValueError, KeyError, TypeError, RuntimeError, OSError, SafetensorError) as error:
        raise InputError(
            f"the adapter in {str(folder)!r} is damaged or does not fit its base {base} "
            f"({reason_of(error)}); save it again, or give another"
        ) from None
    assert isinstance(merged, PreTrainedModel)
    return merged


def check_training_record(folder: Path, weights: PinnedWeights) -> dict[str, Any]:
    """The adapter's ``training.json``, checked to name the pinned base.

    Raises:
        InputError: no such file, one that is damaged, another schema version, or another base.
    """
    path = folder / "training.json"
    if not path.is_file():
        raise InputError(
            f"adapter folder {folder.name!r} has no training.json; make one with "
            "`python -m refusal_lens.training.planted.train --out DIR`"
        )
    record = _record(path)
    if record.get("schema_version") != TRAINING_SCHEMA:
        raise InputError(
            f"training.json of adapter {folder.name!r} has schema version "
            f"{record.get('schema_version')!r}, expected {TRAINING_SCHEMA}: train it again"
        )
    pinned = {"gguf_sha256": weights.gguf.sha256, "tensors_sha256": weights.tensors_sha256}
    base = record.get("base")
    if not isinstance(base, dict):
        raise InputError(f"{str(path)!r} names no base that it was trained on: train it again")
    for key, expected in pinned.items():
        if (trained_on := cast(dict[str, Any], base).get(key)) != expected:
            raise InputError(
                f"adapter {folder.name!r} was trained on a base with {key} {trained_on!r}, but the "
                f"embedded base has {expected!r}: use the shipped adapter or train it again"
            )
    return record


def _record(path: Path) -> dict[str, Any]:
    try:
        content: Any = json.loads(read_utf8(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{str(path)!r} is damaged ({error}): train the adapter again") from None
    if not isinstance(content, dict):
        raise InputError(
            f"{str(path)!r} holds {type(content).__name__}, expected an object: train the adapter "
            "again"
        )
    return cast(dict[str, Any], content)

"""The digest of a checkpoint's weights, read from its files one tensor at a time."""

from collections.abc import Set
from pathlib import Path
from typing import Any, final

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedConfig

from refusal_lens.errors import InputError
from refusal_lens.model.digest import settings_of, tensors_digest


def checkpoint_digest(folder: Path, config: PreTrainedConfig, dtype: torch.dtype) -> str:
    """The digest that `load_model` gives to the same checkpoint in the same precision.

    vLLM's workers hold the weights in pieces, joined in other ways than in the checkpoint. Where
    transformers renames or joins tensors while it loads them (mixtures of experts), the digest is
    one of the checkpoint's tensors under their names in the files: stable, but not `load_model`'s.

    Raises:
        InputError: no safetensors file.

    >>> from transformers import AutoConfig
    >>> folder, config = Path(model.name), AutoConfig.from_pretrained(model.name)
    >>> checkpoint_digest(folder, config, model.backend.dtype) == model.digest
    True
    """
    stored = _Stored(folder)
    names = _names_in_files(config, stored.files.keys())
    if None in names.values():
        names = {name: name for name in stored.files}
    weights = ((n, stored.read(names[n] or n, dtype)) for n in sorted(names))
    return tensors_digest(weights, settings_of(config))


@final
class _Stored:
    """The tensors of a checkpoint's files."""

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, Path] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, framework="pt") as file:
                self.files |= dict.fromkeys(file.keys(), path)
        if not self.files:
            raise InputError(
                f"{str(folder)!r} holds no .safetensors file, from which the digest of the weights "
                "is made; save the model with save_pretrained"
            )

    def read(self, name: str, dtype: torch.dtype) -> Tensor:
        with safe_open(self.files[name], framework="pt") as file:
            tensor: Tensor = file.get_tensor(name)
        return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _names_in_files(config: PreTrainedConfig, files: Set[str]) -> dict[str, str | None]:
    """For each weight of the model that transformers would build, the one that is stored for it.

    Tied weights are one tensor under several names, of which one is in the files.
    """
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config)
    names: dict[int, list[str]] = {}
    weights: dict[str, Tensor] = model.state_dict(keep_vars=True)
    for name, weight in weights.items():
        names.setdefault(id(weight), []).append(name)
    return {
        name: next((n for n in (name, *names[id(weight)]) if n in files), None)
        for name, weight in weights.items()
    }

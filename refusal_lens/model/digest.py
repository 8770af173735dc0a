"""The digest of a model: every byte of its weights, and the settings that it computes with."""

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

_AT_ONCE: Final = 1 << 16  # 32-bit words: what is made of them stays in a CPU's cache

# Where a model lies, what it was saved with, in what precision it runs (each weight's is in the
# digest), and what ends an answer or names a class: none of it changes a residual or a logit.
_NOT_COMPUTED_WITH: Final = frozenset(
    {
        "transformers_version",
        "architectures",
        "dtype",
        "torch_dtype",
        "quantization_config",
        "use_cache",
        "return_dict",
        "output_attentions",
        "output_hidden_states",
        "tokenizer_class",
        "unsloth_version",
        "unsloth_fixed",
        "id2label",
        "label2id",
        "problem_type",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        # of a HookedTransformer
        "device",
        "n_devices",
        "model_name",
        "tokenizer_name",
        "original_architecture",
        "seed",
    }
)


def model_digest(model: nn.Module) -> str:
    """SHA-256 over the weights, by name, shape, dtype and every byte, and the settings.

    The same on any device. Settings are those of the text model that change numbers, as the base of
    rotary positions or the epsilon of norms (`settings_of`).

    >>> from transformers import AutoModelForCausalLM
    >>> model_digest(AutoModelForCausalLM.from_pretrained(model.name)) == model.digest
    True
    """
    config: Any = getattr(model, "config", None)
    settings = settings_of(config) if isinstance(config, PreTrainedConfig) else _plain_cfg(model)
    return tensors_digest(sorted(model.state_dict().items()), settings)


def tensors_digest(named: Iterable[tuple[str, Tensor]], settings: dict[str, Any]) -> str:
    """The digest of a model, its weights given one after the other in the order of their names.

    >>> import torch
    >>> one, other = torch.zeros(64, 8), torch.zeros(64, 8)
    >>> other[5, 3] = 1e-30
    >>> tensors_digest([("a", one)], {}) == tensors_digest([("a", other)], {})
    False
    """
    digest = hashlib.sha256(_json(settings))
    for name, weight in named:
        digest.update(f"{name}{tuple(weight.shape)}{weight.dtype}".encode())
        digest.update(content_checksum(weight))
    return digest.hexdigest()


def settings_of(config: PreTrainedConfig) -> dict[str, Any]:
    """What the text model computes with beside its weights, where it differs from the defaults.

    Without the defaults, to which later versions of transformers add, a model stays the same model
    under another version.

    >>> settings_of(model.backend.model.original_model.config)["model_type"]
    'llama'
    """
    text = config.get_text_config()
    values, defaults = text.to_dict(), _defaults(type(text))
    kept = {
        name: value
        for name, value in values.items()
        if name not in _NOT_COMPUTED_WITH
        and not name.startswith("_")
        and not (name in defaults and defaults[name] == value)
    }
    return kept | {"model_type": text.model_type}


def content_checksum(tensor: Tensor) -> bytes:
    """A checksum of all bytes of a tensor, made where it lies: exact, so that devices agree.

    Words of 32 bits are summed with odd weights of 64 bits, other ones at each place: another
    value at any one place is always seen, and several go unseen with odds of less than one in
    billions. It guards against accidents, not against intent.

    >>> import torch
    >>> content_checksum(torch.tensor([1.0, 2.0])) == content_checksum(torch.tensor([2.0, 1.0]))
    False
    """
    if tensor.device.type not in ("cpu", "cuda"):  # others lack 64-bit integers, or are slow there
        tensor = tensor.cpu()
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    if flat.storage_offset() % 4:
        flat = flat.clone()
    n_whole = len(flat) // 4 * 4
    sums = _sums(flat[:n_whole].view(torch.int32)).cpu().numpy().tobytes()
    return sums + flat[n_whole:].cpu().numpy().tobytes()


def _sums(words: Tensor) -> Tensor:
    """The weighted sums of every `_AT_ONCE` words, modulo 2^64."""
    on_cpu, n_rows = words.device.type == "cpu", len(words) // _AT_ONCE
    factors = _factors(min(_AT_ONCE, len(words)), words.device)
    rows = words[: n_rows * _AT_ONCE].view(n_rows, _AT_ONCE)
    parts = [(part * factors).sum(1) for part in rows.split(1 if on_cpu else 64) if len(part)]
    rest = words[n_rows * _AT_ONCE :]
    return torch.cat([*parts, (rest * factors[: len(rest)]).sum(0, keepdim=True)])


@cache
def _factors(n: int, device: torch.device) -> Tensor:
    """Odd integers without a pattern: the mixing function of SplitMix64, of 1 to n."""
    z = torch.arange(1, n + 1, dtype=torch.int64, device=device) * -0x61C8864680B583EB
    z = (z ^ (z >> 30)) * -0x40A7B892E31B1A47
    z = (z ^ (z >> 27)) * -0x6B2FB644ECCEEE15
    return (z ^ (z >> 31)) | 1


def _defaults(kind: type[Any]) -> dict[str, Any]:
    try:
        return kind().to_dict()
    except Exception:  # a configuration that must be given its sizes: all of it counts
        return {}


def _plain_cfg(model: Any) -> dict[str, Any]:
    """The plain values of a HookedTransformer's configuration."""
    values = vars(model.cfg) if hasattr(model, "cfg") else {}
    plain = (bool, int, float, str, list)
    return {
        name: value
        for name, value in values.items()
        if name not in _NOT_COMPUTED_WITH and isinstance(value, plain)
    }


def _json(settings: dict[str, Any]) -> bytes:
    return json.dumps(settings, sort_keys=True, default=lambda x: type(x).__name__).encode()

"""Loading: an embedded model, a hub id, a local folder, a GGUF file, or a model already loaded."""

import hashlib
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal, final

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from refusal_lens.embedded.adapter import load_embedded_model
from refusal_lens.embedded.registry import EMBEDDED_MODELS, SMALL, find_embedded
from refusal_lens.errors import InputError
from refusal_lens.model.backend import Backend, BridgeBackend, HookedTransformerBackend
from refusal_lens.model.chat import ChatTemplate
from refusal_lens.model.check import check_stream
from refusal_lens.model.lens import LensModel

Implementation = Literal["bridge", "hooked_transformer"]
_DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


@final
@dataclass(frozen=True)
class Placement:
    """Where and in which precision a model is loaded.

    `dtype` is "auto" (the checkpoint's own), "float32", "bfloat16" or "float16". Give either
    `device` or an accelerate `device_map`. Without either: CUDA if there is one, else the CPU
    (never MPS by itself: it has given silently wrong logits).
    """

    dtype: str = "auto"
    device: str | None = None
    device_map: str | dict[str, str | int] | None = None

    def __post_init__(self) -> None:
        if self.dtype != "auto" and self.dtype not in _DTYPES:
            raise InputError(f"dtype {self.dtype!r} is unknown; use 'auto' or one of {[*_DTYPES]}")
        if self.device and self.device_map:
            raise InputError("give either device or device_map, not both")

    def torch_device(self) -> torch.device:
        """The device named, or the default."""
        return torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def torch_dtype(self, config: Any) -> torch.dtype:
        """The dtype named, or the checkpoint's own."""
        own: Any = getattr(config, "dtype", None)
        if self.dtype == "auto":
            return own if isinstance(own, torch.dtype) else torch.float32
        return _DTYPES[self.dtype]


def load_model(  # noqa: PLR0913 - each is a choice that a user types
    source: str = SMALL,
    *,
    revision: str | None = None,
    adapter_scale: float = 1.0,
    adapter: Path | str | None = None,
    system: str | None = None,
    thinking: bool | None = None,
    placement: Placement = Placement(),
    implementation: Implementation = "bridge",
) -> LensModel:
    """A chat model, ready to be read and edited.

    `source` is the key of an embedded model (`refusal-lens models` lists them; by default the
    small planted one, "smollm2-planted"; "qwen-coder-0.5b" refuses by itself), a hub id (with
    `revision`), a folder with a Hugging Face model, or a `.gguf` file, which is dequantised in
    memory. `adapter_scale`, and `adapter` (a folder, by default the shipped one), belong to an
    embedded model with planted refusals. `implementation="hooked_transformer"` needs
    TransformerLens 3.9.

    Raises:
        InputError: nothing there, no chat template, or an option that does not fit the source.
    """
    name = source
    if (entry := find_embedded(source)) is not None:
        folder = None if adapter is None else Path(adapter)
        hf, tokenizer = load_embedded_model(entry, adapter_scale, adapter=folder)
        name = entry.key
        if entry.planting is not None:
            own = "" if folder is None else f" {folder.name},"
            name = f"{entry.key} (adapter{own} scale {adapter_scale:g})"
        movable: Any = hf
        hf = movable.to(dtype=placement.torch_dtype(hf.config), device=placement.torch_device())
    elif adapter_scale != 1.0 or adapter is not None:
        named = f"scale {adapter_scale}" if adapter is None else f"{str(adapter)!r}"
        raise InputError(
            f"adapter {named} belongs to an embedded model with planted refusals; {source!r} has "
            "no adapter of this project"
        )
    else:
        hf, tokenizer = _load_hugging_face(source, revision, placement)
        name = f"{source}@{revision}" if revision else source
    if implementation == "bridge":
        return wrap_model(hf, tokenizer, name=name, system=system, thinking=thinking)
    backend = _hooked_transformer(hf, tokenizer)
    return _finish(backend, tokenizer, name, fingerprint(hf), system, thinking)


def load_control(source: str, like: LensModel, *, placement: Placement) -> LensModel:
    """A control for a chat model, for example its base: read with the chat model's own tokens.

    A base model has no chat template of its own, and the comparison is between equal inputs.

    Raises:
        InputError: nothing there, or its tokenizer gives other ids to the chat model's tokens.
    """
    hf, tokenizer = _load_hugging_face(source, None, placement)
    ours, theirs = like.chat.tokenizer.get_vocab(), tokenizer.get_vocab()
    moved = [t for t, i in ours.items() if theirs.get(t, i) != i]
    embedding: Any = hf.get_input_embeddings()
    n_rows = int(embedding.weight.shape[0])
    if moved or max(like.chat.prefix_ids, default=0) >= n_rows:
        named = f"token {moved[0]!r} has another id" if moved else f"it has only {n_rows} tokens"
        raise InputError(
            f"{source!r} can't be the control of {like.name}: {named}; name the model that it was "
            "tuned from"
        )
    return wrap_model(
        hf,
        like.chat.tokenizer,
        name=f"{source} (control)",
        system=like.chat.system,
        thinking=like.chat.thinking,
    )


def wrap_model(
    model: Any,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    name: str | None = None,
    system: str | None = None,
    thinking: bool | None = None,
) -> LensModel:
    """A model that is already loaded: Hugging Face (with its tokenizer), a bridge, or a
    HookedTransformer without weight processing.

    A Hugging Face model is taken over by TransformerLens, which replaces its modules by hooked
    ones: don't use it by itself afterwards.

    Raises:
        InputError: a Hugging Face model without tokenizer, or a model of another kind.
    """
    from transformer_lens.model_bridge import TransformerBridge

    if isinstance(model, PreTrainedModel):
        if tokenizer is None:
            raise InputError(
                "a Hugging Face model needs its tokenizer: wrap_model(model, tokenizer)"
            )
        name = name or str(model.config.name_or_path) or type(model).__name__
        digest = fingerprint(model)
        model.eval().requires_grad_(False)
        _eager(model)
        bridge = TransformerBridge.boot_transformers(
            str(model.config.name_or_path), hf_model=model, tokenizer=tokenizer
        )
        return _finish(BridgeBackend(bridge), tokenizer, name, digest, system, thinking)
    tokenizer = tokenizer or model.tokenizer
    name = name or str(getattr(model.cfg, "model_name", type(model).__name__))
    assert tokenizer is not None
    if isinstance(model, TransformerBridge):
        digest = fingerprint(model.original_model)
        return _finish(BridgeBackend(model), tokenizer, name, digest, system, thinking)
    if type(model).__name__ == "HookedTransformer":
        backend = HookedTransformerBackend(model)
        return _finish(backend, tokenizer, name, fingerprint(model), system, thinking)
    raise InputError(f"{type(model).__name__} is not a model that TransformerLens can hook")


def fingerprint(model: torch.nn.Module) -> str:
    """SHA-256 over names, shapes, dtypes and about 1,000 evenly spaced values of each weight."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        flat = weight.detach().reshape(-1)
        sample = flat[:: max(1, len(flat) // 1000)].float().cpu().contiguous()
        digest.update(f"{name}{tuple(weight.shape)}{weight.dtype}".encode())
        digest.update(sample.numpy().tobytes())
    return digest.hexdigest()


def _finish(
    backend: Backend,
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    digest: str,
    system: str | None,
    thinking: bool | None,
) -> LensModel:
    chat = ChatTemplate(tokenizer, system, thinking)
    check_stream(backend, chat)
    return LensModel(backend, chat, name=name, digest=digest)


def _load_hugging_face(
    source: str, revision: str | None, placement: Placement
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    path = Path(source)
    where: dict[str, Any] = {"revision": revision} if revision else {}
    if source.endswith(".gguf"):
        if not path.is_file():
            raise InputError(f"GGUF file {source!r} does not exist")
        where["gguf_file"] = path.name
        source = str(path.parent)
    elif path.exists() and not (path / "config.json").is_file():
        raise InputError(f"{source!r} holds no config.json; expected a Hugging Face model folder")
    try:
        config = AutoConfig.from_pretrained(source, **where)
        tokenizer = AutoTokenizer.from_pretrained(source, **where)
        if placement.device_map:
            where["device_map"] = placement.device_map
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=placement.torch_dtype(config), attn_implementation="eager", **where
        )
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"model {source!r} can't be loaded ({reason}); give a hub id that you have access to "
            "and a connection, a local folder, a .gguf file, or one of "
            f"{[m.key for m in EMBEDDED_MODELS]}"
        ) from None
    placed: Any = model
    if not placement.device_map:
        placed = placed.to(placement.torch_device())
    return placed, tokenizer


def _eager(model: PreTrainedModel) -> None:
    """The bridge rebuilds attention step by step; the masks must be made for that."""
    model.set_attn_implementation("eager")


def _hooked_transformer(
    hf: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> HookedTransformerBackend:
    """A HookedTransformer with the weights of `hf`, without any weight processing.

    TransformerLens finds sizes by the name of a published model; the configuration of the loaded
    one, written to a folder, serves any model of an architecture that it knows.
    """
    try:
        legacy: Any = import_module("transformer_lens").HookedTransformer
        loader: Any = import_module("transformer_lens.loading_from_pretrained")
    except ImportError:
        raise InputError(
            "HookedTransformer is gone from TransformerLens 4; use the bridge, or install "
            "'transformer-lens<4'"
        ) from None
    hf.config.architectures = [type(hf).__name__]
    with TemporaryDirectory() as folder:
        hf.config.save_pretrained(folder)
        try:
            config: Any = loader.get_pretrained_model_config(
                folder, device=str(hf.device), dtype=hf.dtype
            )
            weights: Any = loader.get_pretrained_state_dict(folder, config, hf, dtype=hf.dtype)
        except (NotImplementedError, KeyError) as error:
            raise InputError(
                f"HookedTransformer can't be built from {type(hf).__name__} ({error}); "
                "use the bridge"
            ) from None
    with warnings.catch_warnings():  # it says that TransformerLens 4 has no such class
        warnings.simplefilter("ignore", DeprecationWarning)
        model: Any = legacy(config, tokenizer, move_to_device=False)
    model.load_and_process_state_dict(
        weights,
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
    )
    model.move_model_modules_to_device()
    return HookedTransformerBackend(model)

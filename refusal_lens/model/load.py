"""Loading: an embedded model, a hub id, a local folder, a GGUF file, or a model already loaded."""

import warnings
from contextlib import suppress
from datetime import datetime
from importlib import import_module, metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from refusal_lens.embedded.adapter import load_embedded_model
from refusal_lens.embedded.registry import SMALL, find_embedded
from refusal_lens.errors import InputError, reason_of
from refusal_lens.memory import enough_for
from refusal_lens.model.backend import Backend
from refusal_lens.model.bridge import BridgeBackend
from refusal_lens.model.chat import ChatTemplate
from refusal_lens.model.check import Logits, check_cache, check_stream, logits_before
from refusal_lens.model.checkpoint import check_plain, check_revision, load_checkpoint
from refusal_lens.model.digest import model_digest
from refusal_lens.model.hooked_transformer import HookedTransformerBackend
from refusal_lens.model.lens import LensModel
from refusal_lens.model.packed import pack_linears
from refusal_lens.placement import Placement

# Families whose blocks are another's, which TransformerLens bridges under that other name alone.
_SAME_BLOCKS: Final = {
    "CwmForCausalLM": "LlamaForCausalLM",
    "GraniteMoeSharedForCausalLM": "GraniteMoeHybridForCausalLM",
    "HeliumForCausalLM": "Ernie4_5ForCausalLM",
    "MinistralForCausalLM": "MistralForCausalLM",
    "PhimoeForCausalLM": "PhiMoEForCausalLM",
}

Implementation = Literal["bridge", "hooked_transformer"]


def load_model(  # noqa: PLR0913 - each is a choice that a user types
    source: str | Path = SMALL,
    *,
    revision: str | None = None,
    adapter_scale: float = 1.0,
    adapter: Path | str | None = None,
    system: str | None = None,
    thinking: bool | None = None,
    now: datetime | None = None,
    placement: Placement = Placement(),
    implementation: Implementation = "bridge",
) -> LensModel:
    """A chat model, ready to be read and edited.

    `source` is the key of an embedded model (`refusal-lens models` lists them; by default the
    small planted one, "smollm2-planted"; "qwen-coder-0.5b" refuses by itself), a hub id (with
    `revision`), a folder with a Hugging Face model or with a LoRA adapter, which is merged into
    its base, or a `.gguf` file, which is dequantised in memory. `adapter_scale`, and `adapter` (a
    folder, by default the shipped one), belong to an embedded model with planted refusals. `now`
    is what a chat template that prints the date takes for the time, by default that of loading;
    it stands still. `implementation="hooked_transformer"` needs TransformerLens 3.9.

    Raises:
        InputError: nothing there, no chat template, or an option that does not fit the source.

    >>> rl.load_model(model.name, placement=model.placement).d_model  # here a folder
    32
    """
    source = name = str(source)
    check_revision(source, revision)
    if (entry := find_embedded(source)) is not None:
        folder = None if adapter is None else Path(adapter)
        if placement.device_map:
            raise InputError(
                f"device map {placement.device_map!r}: {source!r} fits one device; leave it out"
            )
        device = placement.torch_device()
        with enough_for(f"{source!r} on {device}"):
            hf, tokenizer = load_embedded_model(entry, adapter_scale, adapter=folder)
            movable: Any = hf
            hf = movable.to(dtype=placement.torch_dtype(hf.config), device=device)
        name = entry.key
        if entry.planting is not None:
            label = "" if folder is None else f" {folder.name},"
            name = f"{entry.key} (adapter{label} scale {adapter_scale:g})"
    elif adapter_scale != 1.0 or adapter is not None:
        named = f"scale {adapter_scale}" if adapter is None else f"{str(adapter)!r}"
        raise InputError(
            f"adapter {named} belongs to an embedded model with planted refusals; {source!r} has "
            "no adapter of this project"
        )
    else:
        hf, tokenizer = load_checkpoint(source, revision, placement)
        name = f"{source}@{revision}" if revision else source
    chat = _template(tokenizer, system, thinking, now)
    digest = model_digest(hf)
    if implementation == "bridge":
        return _bridged(hf, chat, name, digest, placement)
    return _finish(_hooked_transformer(hf, tokenizer), chat, name, digest, placement)


def load_control(source: str, like: LensModel, *, placement: Placement) -> LensModel:
    """A control for a chat model, for example its base: read with the chat model's own tokens.

    A base model has no chat template of its own, and the comparison is between equal inputs.

    Raises:
        InputError: nothing there, or its tokenizer gives other ids to the chat model's tokens.

    >>> control = load_control(model.name, model, placement=model.placement)
    >>> control.chat is model.chat
    True
    """
    hf, tokenizer = load_checkpoint(source, None, placement)
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
    digest = model_digest(hf)
    return _bridged(hf, like.chat, f"{source.rstrip('/')} (control)", digest, placement)


def wrap_model(  # noqa: PLR0913 - each is a choice that a user types
    model: Any,
    tokenizer: PreTrainedTokenizerBase | None = None,
    *,
    name: str | None = None,
    system: str | None = None,
    thinking: bool | None = None,
    now: datetime | None = None,
    batch_size: int = 64,
) -> LensModel:
    """A model that is already loaded: Hugging Face (with its tokenizer), a bridge, or a
    HookedTransformer without weight processing.

    A Hugging Face model is taken over by TransformerLens, which replaces its modules by hooked
    ones: don't use it by itself afterwards.

    Raises:
        InputError: a Hugging Face model without tokenizer, or a model of another kind.

    >>> rl.wrap_model(model.backend.model, model.chat.tokenizer, name="tiny").name
    'tiny'
    """
    from transformer_lens.model_bridge import TransformerBridge

    placement = Placement(batch_size=batch_size)  # device and dtype are the model's own
    if isinstance(model, PeftModel):
        raise InputError(
            "a PeftModel keeps its adapter beside the weights, where no hook reads it; merge it: "
            "wrap_model(model.merge_and_unload(), tokenizer)"
        )
    if isinstance(model, PreTrainedModel):
        if tokenizer is None:
            raise InputError(
                "a Hugging Face model needs its tokenizer: wrap_model(model, tokenizer)"
            )
        name = name or str(model.config.name_or_path) or type(model).__name__
        check_plain(model, name)
        digest = model_digest(model)
        model.eval().requires_grad_(False)
        chat = _template(tokenizer, system, thinking, now)
        return _bridged(model, chat, name, digest, placement)
    tokenizer = tokenizer or model.tokenizer
    name = name or str(getattr(model.cfg, "model_name", type(model).__name__))
    assert tokenizer is not None
    chat = _template(tokenizer, system, thinking, now)
    if isinstance(model, TransformerBridge):
        digest = model_digest(model.original_model)
        return _finish(BridgeBackend(model), chat, name, digest, placement)
    if type(model).__name__ == "HookedTransformer":
        backend = HookedTransformerBackend(model)
        return _finish(backend, chat, name, model_digest(model), placement)
    raise InputError(f"{type(model).__name__} is not a model that TransformerLens can hook")


def _template(
    tokenizer: PreTrainedTokenizerBase,
    system: str | None,
    thinking: bool | None,
    now: datetime | None,
) -> ChatTemplate:
    return ChatTemplate(tokenizer, system, thinking, now or datetime.now())


def _finish(
    backend: Backend,
    chat: ChatTemplate,
    name: str,
    digest: str,
    placement: Placement,
    expected: Logits | None = None,
) -> LensModel:
    check_stream(backend, chat, expected)
    check_cache(backend, chat)
    return LensModel(backend, chat, name=name, digest=digest, placement=placement)


def _bridged(
    model: PreTrainedModel, chat: ChatTemplate, name: str, digest: str, placement: Placement
) -> LensModel:
    # The bridge rebuilds attention step by step; the masks must be made for that.
    with suppress(ValueError):  # a family without any attention
        model.set_attn_implementation("eager")
    expected = logits_before(model, chat)
    backend = BridgeBackend(_bridge(model, chat.tokenizer))
    if placement.packed and not backend.recurrent:  # a state that is carried on amplifies rounding
        pack_linears(model)
    return _finish(backend, chat, name, digest, placement, expected)


def _bridge(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Any:
    """A Hugging Face model taken over by TransformerLens.

    Raises:
        InputError: TransformerLens has no bridge for its family, or can't build it.
    """
    from transformer_lens.model_bridge import TransformerBridge

    family = type(model).__name__
    # The bridge looks the family up here; a checkpoint may have been saved without.
    named = model.config.architectures
    if not named or family in _SAME_BLOCKS:
        model.config.architectures = [_SAME_BLOCKS.get(family, family)]
    try:
        return TransformerBridge.boot_transformers(
            str(model.config.name_or_path), hf_model=model, tokenizer=tokenizer
        )
    except Exception as error:  # whatever breaks in a family that nobody has fitted there
        unknown = "Could not determine supported architecture" in str(error)  # and a long list
        raise InputError(
            f"{family} can't be hooked: TransformerLens {metadata.version('transformer_lens')} "
            f"{'has' if unknown else 'builds'} no bridge for it"
            f"{'' if unknown else f' ({reason_of(error)})'}; use a model of a family that it "
            "bridges (docs/architectures.md lists them)"
        ) from None
    finally:
        model.config.architectures = named or [family]


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

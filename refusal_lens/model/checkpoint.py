"""Weights and tokenizer of a hub id, a folder, a LoRA adapter's folder or a GGUF file."""

from pathlib import Path
from typing import Any

from gguf import GGUFReader
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from refusal_lens.embedded.adapter import merge_adapter
from refusal_lens.embedded.configuration import LORA, adapter_base
from refusal_lens.embedded.dequantise import forget_quantisation, plain_weights
from refusal_lens.embedded.registry import EMBEDDED_MODELS, find_embedded
from refusal_lens.errors import InputError
from refusal_lens.folders import is_file, is_folder, is_there
from refusal_lens.memory import enough_for
from refusal_lens.placement import Placement


def check_revision(source: str, revision: str | None) -> None:
    """Reject a revision of what has none: an embedded model, a folder or a file.

    >>> check_revision("me/model", "main")

    Raises:
        InputError: such a source with a revision.
    """
    if revision is not None and (find_embedded(source) is not None or is_there(Path(source))):
        raise InputError(
            f"revision {revision!r} belongs to a hub id, and {source!r} is a model on this "
            "machine; leave the revision out"
        )


def load_checkpoint(
    source: str, revision: str | None, placement: Placement
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A causal language model and its tokenizer; nothing of a checkpoint's own code is run.

    A folder with a LoRA adapter is merged into the base that it names.

    Raises:
        InputError: nothing there, no access, a kind of model that transformers doesn't know, that
            is no causal language model or that needs code of its own, quantised weights, or more
            than memory holds.
    """
    device = placement.torch_device()
    path, where = _place(source, revision)
    with enough_for(f"the weights of {source!r} on {placement.device_map or device}"):
        if is_file(path / LORA) and not (path / "config.json").is_file():
            return _merged(path, placement)
        model, tokenizer = _loaded(source, path, where, placement)
        if not placement.device_map:
            placed: Any = model
            model = placed.to(device)
    return model, tokenizer


def _loaded(
    source: str, path: Path, where: dict[str, Any], placement: Placement
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = str(path.parent) if "gguf_file" in where else source
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False, **where)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **where)
        if placement.device_map:
            where["device_map"] = placement.device_map
        if "gguf_file" in where:
            where |= plain_weights()
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=placement.torch_dtype(config),
            attn_implementation="eager",
            trust_remote_code=False,
            **where,
        )
    except OSError as error:
        raise InputError(
            f"model {source!r} can't be loaded ({_first_line(error)}); give a hub id that you have "
            "access to and a connection, a local folder, a .gguf file, or one of "
            f"{[m.key for m in EMBEDDED_MODELS]}"
        ) from None
    except (ValueError, KeyError, ImportError, SafetensorError) as error:
        raise InputError(_why(source, error)) from None
    if "gguf_file" in where:
        forget_quantisation(model)
    check_plain(model, source)
    return model, tokenizer


def check_plain(model: PreTrainedModel, name: str) -> None:
    """Weights must be plain floating-point matrices, which residuals and attribution read.

    Raises:
        InputError: they are quantised.
    """
    if getattr(model, "is_quantized", False) or getattr(model, "hf_quantizer", None):
        raise InputError(
            f"the weights of {name!r} are quantised; what an edit or an attribution reads must be "
            "plain matrices: load the model in bfloat16 without a quantization_config, or "
            "model.dequantize() first"
        )


def _place(source: str, revision: str | None) -> tuple[Path, dict[str, Any]]:
    path = Path(source)
    where: dict[str, Any] = {"revision": revision} if revision else {}
    if source.endswith(".gguf"):
        if not is_file(path):
            raise InputError(f"GGUF file {source!r} does not exist")
        _check_gguf(path)
        where["gguf_file"] = path.name
    elif is_file(path):
        raise InputError(f"{source!r} is a file; expected a folder with a model, or a .gguf file")
    elif is_folder(path) and not any((path / f).is_file() for f in ("config.json", LORA)):
        raise InputError(f"{source!r} holds no config.json; expected a Hugging Face model folder")
    return path, where


def _check_gguf(path: Path) -> None:
    """Tell a control vector from a model; whatever else is wrong shows when it is loaded."""
    try:
        field = GGUFReader(path).get_field("general.architecture")
    except (ValueError, IndexError, OSError) as error:  # the last two: it is cut, or unreadable
        raise InputError(f"{str(path)!r} is no GGUF file ({_first_line(error)})") from None
    if field is not None and field.contents() == "controlvector":
        raise InputError(
            f"{str(path)!r} holds a control vector (directions), no model; give the model that it "
            "was made for"
        )


def _merged(folder: Path, placement: Placement) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The base of a LoRA adapter with the adapter merged into its weights."""
    base, revision = adapter_base(folder)
    if base is None:
        raise InputError(
            f"the adapter in {str(folder)!r} names no base model; write it into {LORA} as "
            "'base_model_name_or_path', or merge the adapter and save the model"
        )
    model, tokenizer = load_checkpoint(base, revision, placement)
    if (folder / "tokenizer_config.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return merge_adapter(model, folder, base=repr(base)), tokenizer


def _why(source: str, error: Exception) -> str:
    """What an error of transformers means to someone who gave a name."""
    text = str(error)
    reason = _first_line(error)
    if "trust_remote_code" in text or "custom code" in text:
        return (
            f"model {source!r} brings code of its own, which is never run here; load it yourself "
            "and give it to wrap_model(model, tokenizer)"
        )
    if "Unrecognized configuration class" in text:
        return (
            f"model {source!r} is no causal language model ({reason[:120]}); encoder-decoder and "
            "encoder models have no single residual stream that an answer is written from: give a "
            "decoder-only chat model"
        )
    if "model type" in text or "model_type" in text:
        return (
            f"model {source!r} is of a kind that this version of transformers doesn't know "
            f"({reason[:160]}); upgrade transformers, or give another model"
        )
    return f"model {source!r} can't be loaded ({reason[:200]})"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

"""A model's configuration and tokenizer where they are on this machine; no weights are read."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerBase

from refusal_lens.embedded.configuration import LORA, adapter_base, config_folder
from refusal_lens.embedded.registry import EMBEDDED_MODELS, find_embedded
from refusal_lens.errors import InputError, reason_of
from refusal_lens.folders import is_file, is_folder
from refusal_lens.model.checkpoint import check_revision


@final
@dataclass(frozen=True, eq=False)
class Configured:
    """A configuration, and the tokenizer beside it if there is one with a chat template."""

    name: str
    config: PreTrainedConfig
    tokenizer: PreTrainedTokenizerBase | None


def find_configured(source: str, revision: str | None = None) -> Configured:
    """The configuration of an embedded model, a folder, a GGUF file, or a hub id in the cache.

    Of a folder with a LoRA adapter it is that of the base, into which the adapter is merged, in the
    revision that the adapter names.
    Nothing is downloaded, and no code of a checkpoint is run.

    Raises:
        InputError: no configuration on this machine, one that transformers does not know, or a
            revision of what has none.

    >>> find_configured(model.name).config.num_hidden_layers  # here a folder
    3
    """
    check_revision(source, revision)
    return _configured(source, revision)


def _configured(source: str, revision: str | None) -> Configured:
    entry = find_embedded(source)
    where: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    path = Path(source) if entry is None else config_folder(entry)
    place = source if entry is None else str(path)
    if revision:
        where["revision"] = revision
    if source.endswith(".gguf"):
        if not is_file(path):
            raise InputError(f"GGUF file {source!r} does not exist")
        place, where["gguf_file"] = str(path.parent), path.name
    elif is_folder(path) and not (path / "config.json").is_file():
        return _configured(*_base_of(path))
    try:
        config = AutoConfig.from_pretrained(place, **where)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InputError(_why(source, error)) from None
    return Configured(source if entry is None else entry.key, config, _tokenizer(place, where))


def _base_of(folder: Path) -> tuple[str, str | None]:
    """The base that a LoRA adapter's folder names, and its revision."""
    base, revision = adapter_base(folder) if (folder / LORA).is_file() else (None, None)
    if base is not None:
        return base, revision
    raise InputError(
        f"{str(folder)!r} holds no config.json; a plan needs the model's configuration: give a "
        "folder that has one"
    )


def _tokenizer(place: str, where: dict[str, Any]) -> PreTrainedTokenizerBase | None:
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, **where)
    except Exception:  # whatever a missing or foreign file leads to: a length is assumed instead
        return None
    return tokenizer if getattr(tokenizer, "chat_template", None) else None


def _why(source: str, error: Exception) -> str:
    if isinstance(error, OSError):
        return (
            f"no configuration of {source!r} is on this machine; give a folder with its "
            f"config.json, fetch that one file (hf download {source} config.json), or name one of "
            f"{[m.key for m in EMBEDDED_MODELS]}"
        )
    return (
        f"the configuration of {source!r} can't be read ({reason_of(error)[:160]}); a plan needs a "
        "decoder-only model that this version of transformers knows"
    )

"""The digest of a model that is not loaded yet: of the files that it would be loaded from."""

from pathlib import Path
from typing import Any, Final

from transformers import AutoConfig

from refusal_lens.embedded.configuration import LORA, adapter_base
from refusal_lens.embedded.gguf_file import file_sha256
from refusal_lens.errors import InputError
from refusal_lens.records import digest_of

_WEIGHTS: Final = (".safetensors", ".bin", ".index.json")
_SETTINGS: Final = ("config.json", LORA)


def source_digest(source: str | Path) -> str:
    """SHA-256 of a folder's weights and settings or of a `.gguf` file; of a hub id, its commit.

    Where a folder holds a LoRA adapter, its base counts, too. Whole files are read, which takes a
    second for each gigabyte or so, and no memory. Empty where nothing is there, which loading says.

    >>> source_digest(model.name) == source_digest(Path(model.name))
    True
    """
    path = Path(source)
    if path.is_file():
        return file_sha256(path)
    if not path.is_dir():
        return _commit(str(source))
    files = [
        file
        for file in sorted(path.iterdir())
        if file.is_file() and (file.name.endswith(_WEIGHTS) or file.name in _SETTINGS)
    ]
    content = {file.name: file_sha256(file) for file in files}
    return digest_of([content, _base_digest(path)])


def _base_digest(folder: Path) -> str:
    """The digest of an adapter's base; empty for a folder with a whole model."""
    if not (folder / LORA).is_file() or (folder / "config.json").is_file():
        return ""
    try:
        base, _ = adapter_base(folder)
    except InputError:  # loading says so
        return ""
    return source_digest(base) if base and Path(base) != folder else ""


def _commit(source: str) -> str:
    """The commit at which a hub id is here, or would be fetched."""
    try:
        config: Any = AutoConfig.from_pretrained(source, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError):
        return ""
    return str(getattr(config, "_commit_hash", None) or "")

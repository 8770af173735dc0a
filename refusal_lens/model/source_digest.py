"""The digest of a model that is not loaded yet: of the files that it would be loaded from."""

from pathlib import Path
from typing import Any, Final

from transformers import AutoConfig

from refusal_lens.embedded.configuration import LORA, adapter_base
from refusal_lens.errors import InputError
from refusal_lens.files import file_sha256
from refusal_lens.folders import is_file, is_folder
from refusal_lens.records import digest_of

_WEIGHTS: Final = (".safetensors", ".bin", ".index.json")
_SETTINGS: Final = ("config.json", LORA)


def source_digest(source: str | Path, revision: str | None = None) -> str:
    """SHA-256 of a folder's weights and settings or of a `.gguf` file; of a hub id, its commit.

    `revision` is of a hub id. Where a folder holds a LoRA adapter, its base counts, too, in the
    revision that the adapter names. Whole files are read, which takes a
    second for each gigabyte or so, and no memory. Empty where nothing is there, which loading says.

    >>> source_digest(model.name) == source_digest(Path(model.name))
    True
    """
    path = Path(source)
    if is_file(path):
        return file_sha256(path)
    if not is_folder(path):
        return _commit(str(source), revision)
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
        base, revision = adapter_base(folder)
    except InputError:  # loading says so
        return ""
    return source_digest(base, revision) if base and Path(base) != folder else ""


def _commit(source: str, revision: str | None) -> str:
    """The commit at which a hub id is here, or would be fetched."""
    where = {"revision": revision} if revision else {}
    try:
        config: Any = AutoConfig.from_pretrained(source, trust_remote_code=False, **where)
    except (OSError, ValueError, KeyError, ImportError):
        return ""
    return str(getattr(config, "_commit_hash", None) or "")

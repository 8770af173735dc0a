"""Where the configuration of an embedded model is, before its weights have been fetched."""

import json
from pathlib import Path
from typing import Any, Final, cast

from refusal_lens.embedded.disk import cache_root
from refusal_lens.embedded.model import EmbeddedModel
from refusal_lens.errors import InputError, reason_of
from refusal_lens.resources import data_path

LORA: Final = "adapter_config.json"
"""The file that makes a folder a LoRA adapter's."""


def config_folder(entry: EmbeddedModel, root: Path | None = None) -> Path:
    """A folder with `config.json`: the cached one with its tokenizer, else the shipped copy alone.

    Nothing is fetched, and no weights are read. `root` is the cache folder, by default
    :func:`refusal_lens.embedded.disk.cache_root`.

    >>> from refusal_lens.embedded.registry import NATIVE
    >>> (config_folder(NATIVE, Path("no cache")) / "config.json").is_file()
    True
    """
    cached = (cache_root() if root is None else root) / entry.weights.folder_name
    return cached if (cached / "config.json").is_file() else data_path("configs", entry.key)


def adapter_base(folder: Path) -> tuple[str | None, str | None]:
    """The base model that a LoRA adapter's folder names, and its revision.

    Raises:
        InputError: the adapter's configuration can't be read, or names something else than text.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, LORA).write_text('{"base_model_name_or_path": "org/base"}')
    ...     adapter_base(Path(folder))
    ('org/base', None)
    """
    path = folder / LORA
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{str(path)!r} can't be read ({reason_of(error)}); save the adapter again"
        ) from None
    plain = cast(dict[str, Any], content) if isinstance(content, dict) else {"": content}
    base, revision = plain.get("base_model_name_or_path"), plain.get("revision")
    if "" in plain or not isinstance(base or "", str) or not isinstance(revision or "", str):
        raise InputError(
            f"{str(path)!r} is no configuration of an adapter; expected an object that names the "
            "base model in 'base_model_name_or_path', and perhaps its 'revision'"
        )
    return base or None, revision or None

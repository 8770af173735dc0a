"""Where the configuration of an embedded model is, before its weights have been fetched."""

from pathlib import Path

from refusal_lens.embedded.disk import cache_root
from refusal_lens.embedded.model import EmbeddedModel
from refusal_lens.resources import data_path


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

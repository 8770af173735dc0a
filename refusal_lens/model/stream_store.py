"""Streams at the end of unedited prompts, kept in a file: no stage of a study runs a prompt again
for its logits.

What an answer begins with is read off the last token's stream behind the last block, by the final
norm and the unembedding: d_model numbers stand for as many logits as the vocabulary is large. The
file is of safetensors, with a key and a vector a prompt. A key is the digest of all that a vector
depends on: the model's weights, precision and implementation, versions of packages, and the
templated prompt's token ids. The head holds a checksum of each of the two tensors.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final, final

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from refusal_lens.files import write_atomic
from refusal_lens.model.digest import content_checksum
from refusal_lens.model.keeping import newest_within

SCHEMA_VERSION: Final = 2
MOST_BYTES: Final = 32 << 20
"""Size of all vectors from which on the oldest go, until half of it is left."""

_HEAD: Final = {"kept": "streams", "schema_version": str(SCHEMA_VERSION)}


class StreamStoreWarning(UserWarning):
    """Kept streams can't be read; their prompts are run again."""


@final
class StreamStore:
    """Vectors by their keys, of at most `most_bytes`: beyond, the oldest go. `save` writes them.

    What is damaged, or was written by another version, is left out, and one `StreamStoreWarning`
    says so. `sound` says by a model's digest whether its logits follow from its streams, once a
    look at a prompt has shown it; the file does not.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = StreamStore(Path(folder, "streams.safetensors"))
    ...     store.add({"0f" * 16: torch.ones(2)})
    ...     store.save()
    ...     StreamStore(Path(folder, "streams.safetensors")).find("0f" * 16)
    tensor([1., 1.])
    """

    def __init__(self, path: Path, most_bytes: int = MOST_BYTES) -> None:
        self._path, self._most = path, most_bytes
        self._vectors: dict[str, Tensor] = {}  # by key, in the order of age
        self._unsaved = False
        self.sound: dict[str, bool] = {}
        if path.exists():
            self._read()

    def __len__(self) -> int:
        return len(self._vectors)

    def find(self, key: str) -> Float[Tensor, " d_model"] | None:
        """The vector under a key, if it is there."""
        return self._vectors.get(key)

    def add(self, vectors: Mapping[str, Float[Tensor, " d_model"]]) -> None:
        """Keep vectors; one that is there stays as it is."""
        new = {key: x for key, x in vectors.items() if key not in self._vectors}
        self._vectors |= new
        self._unsaved = self._unsaved or bool(new)
        sizes = {key: x.nbytes for key, x in self._vectors.items()}
        if sum(sizes.values()) > self._most:
            kept = newest_within(sizes, self._most // 2)
            self._vectors = {key: self._vectors[key] for key in kept}

    def save(self) -> None:
        """Write the file, if anything has come since it was written."""
        if not self._unsaved:
            return
        keys = torch.tensor([list(bytes.fromhex(key)) for key in self._vectors], dtype=torch.uint8)
        streams = torch.stack([*self._vectors.values()])
        tensors = {"keys": keys, "streams": streams}
        write_atomic(self._path, save(tensors, metadata=_HEAD | _checksums(tensors)))
        self._unsaved = False

    def _read(self) -> None:
        try:
            with safe_open(self._path, "pt") as file:
                head = file.metadata() or {}
                if not _HEAD.items() <= head.items():
                    raise ValueError(f"its head is {head}; expected {_HEAD} and checksums")
                tensors: dict[str, Tensor] = {n: file.get_tensor(n) for n in ("keys", "streams")}
            if head != _HEAD | _checksums(tensors):
                raise ValueError("its numbers are not those of its checksums")
            named = [bytes(key).hex() for key in tensors["keys"].tolist()]
            self._vectors = dict(zip(named, tensors["streams"], strict=True))
        except (SafetensorError, OSError, ValueError, TypeError) as error:
            line = f"{self._path} is damaged or of another version; its prompts are run again"
            warnings.warn(f"{line} ({error})", StreamStoreWarning, stacklevel=1)
            self._path.unlink(missing_ok=True)


def _checksums(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    return {f"{name} checksum": content_checksum(x).hex() for name, x in tensors.items()}

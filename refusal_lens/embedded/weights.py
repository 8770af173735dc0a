"""What an embedded model's weights are: where they come from, and the numbers they must be."""

from dataclasses import dataclass
from typing import final

from refusal_lens.embedded.gguf_file import GgufFile, Source


@final
@dataclass(frozen=True)
class PinnedWeights:
    """A model's weights, pinned at both ends: the GGUF file, and the float32 tensors made of it.

    Attributes:
        title: Name of the model and its quantisation, for messages and records.
        stem: Beginning of the name of its folder in the cache.
        gguf: The file.
        source: How the file is got.
        tensors_sha256: Digest of the tensors (`folder.tensors_sha256`).
        tensors_bytes: Size of the float32 weight file, for which the disk must have room.
    """

    title: str
    stem: str
    gguf: GgufFile
    source: Source
    tensors_sha256: str
    tensors_bytes: int

    @property
    def folder_name(self) -> str:
        """Name of the model's folder in the cache."""
        return f"{self.stem}-{self.tensors_sha256[:16]}"

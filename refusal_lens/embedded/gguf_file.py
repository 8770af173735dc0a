"""A GGUF file that is pinned by its bytes, and what every way of getting one shares."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final, runtime_checkable

from refusal_lens.files import file_sha256

FileProgress = Callable[[str, int, int], None]
"""Told what is being done, and how many bytes of how many are done; the caller shows it.

Of 0 bytes where there is nothing to count.
"""


class WayFailedError(Exception):
    """One way of getting a file does not work, and why; another way may."""


def quiet(what: str, done: int, total: int) -> None:
    """The progress that nobody sees."""


@final
@dataclass(frozen=True)
class GgufFile:
    """A GGUF file: its name, its size, and the SHA-256 without which it is not used."""

    name: str
    n_bytes: int
    sha256: str

    def wrong(self, path: Path) -> str | None:
        """What is wrong with the file at `path`, as the end of a sentence; None if nothing is."""
        if not path.is_file():
            return "no such file"
        digest = file_sha256(path)
        if digest == self.sha256:
            return None
        size = path.stat().st_size
        return f"{size:,} bytes with SHA-256 {digest}, expected {self.sha256}"


@runtime_checkable
class Source(Protocol):
    """How a model's GGUF file is got."""

    def present(self, file: GgufFile, root: Path) -> Path | None:
        """The file, where it lies on this machine with the pinned bytes; nothing is fetched."""
        ...

    def bytes_needed(self, file: GgufFile, root: Path) -> int:
        """Free bytes that `get` needs below the cache folder `root` at most."""
        ...

    def get(self, file: GgufFile, root: Path, progress: FileProgress) -> Path:
        """The pinned file, fetched below `root` where it must be; one caller at a time.

        Raises:
            InputError: it cannot be got, or what was got has other bytes.
        """
        ...

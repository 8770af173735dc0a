"""The cache folder: where it is, who works in it, and what to say when its disk is full."""

import errno
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from refusal_lens.embedded.gguf_file import FileProgress
from refusal_lens.errors import InputError
from refusal_lens.files import FULL

_CLOSED: Final = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ENOLCK}
_FULL_WORDS: Final = ("No space left on device", "os error 28", "Disk quota exceeded")


def cache_root() -> Path:
    """The cache folder: ``$REFUSAL_LENS_CACHE``, or ``~/.cache/refusal_lens``."""
    named = os.environ.get("REFUSAL_LENS_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "refusal_lens"


def check_room(root: Path, needed: int, what: str) -> None:
    """Raises InputError where the disk of `root` has less than `needed` bytes free."""
    there = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise _full(root, needed, what, f"its disk has {free:,} free")


@contextmanager
def telling_disk_errors(root: Path, needed: int, what: str) -> Generator[None]:
    """Turns a full or closed disk below `root` into one line for the user.

    Raises:
        InputError: the disk is full, or may not be written to.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        number = error.errno if isinstance(error, OSError) else None
        # What safetensors raises for a full disk is no OSError.
        if number in FULL or any(words in str(error) for words in _FULL_WORDS):
            raise _full(root, needed, what, "its disk ran full") from error
        if number in _CLOSED:
            raise InputError(
                f"cannot work in the cache folder {root} ({' '.join(str(error).split())}): "
                "set REFUSAL_LENS_CACHE to a folder that can be written to"
            ) from error
        raise


def _full(root: Path, needed: int, what: str, why: str) -> InputError:
    return InputError(
        f"{what} needs {needed:,} bytes in {root}, and {why}: make room there, or set "
        "REFUSAL_LENS_CACHE to a folder on another disk"
    )


@contextmanager
def alone(root: Path, name: str, progress: FileProgress) -> Generator[None]:
    """Only one process at a time works on `name`; the others wait, and say so.

    The operating system frees the lock of a process that is killed.
    """
    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / f".lock-{name}")
    try:
        lock.acquire(blocking=False)
    except NotImplementedError as error:  # what filelock says of a disk without locks
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK), str(root)) from error
    except Timeout:
        progress(f"waiting for another process to prepare {name}", 0, 0)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()

"""Files written whole: whenever the process dies, the old or the new one is there; and digests."""

import hashlib
import os
import tempfile
from pathlib import Path

from refusal_lens.errors import InputError
from refusal_lens.folders import flush_folder, make_folder_of


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that, whenever the process dies, the old or the new one is whole.

    Raises:
        InputError: no file can be there.
    """
    make_folder_of(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    except OSError as error:
        raise InputError(
            f"{str(path)!r} can't be written ({error.strerror}); give another place"
        ) from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)


def append_flushed(path: Path, lines: bytes) -> None:
    """Append lines to a file and flush it to disk; a process that dies may cut the last one."""
    with path.open("ab") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

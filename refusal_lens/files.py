"""Files written whole: whenever the process dies, the old or the new one is there; files read, or
refused in one clear line; and digests."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.folders import flush, make_folder_of

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a disk, a quota or a file that has no room left."""


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file so that, whenever the process dies, the old or the new one is whole.

    Raises:
        InputError: no file can be there.
        OSError: it can't be written to its end, as on a full disk; the error names the file. That
            is no InputError, which a stage may take for a reason why it can't be measured.

    >>> write_atomic(Path("made/x.txt"), b"text")
    >>> Path("made/x.txt").read_bytes()
    b'text'
    """
    make_folder_of(path)
    with _named(path):
        try:
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        except OSError as error:
            if error.errno in FULL:
                raise
            raise InputError(
                f"{str(path)!r} can't be written ({error.strerror}); give another place"
            ) from None
        _fill(handle, Path(name), path, content)
        flush(path.parent)


def _fill(handle: int, temporary: Path, path: Path, content: bytes) -> None:
    """Write the temporary file and put it in the place of the other; remove it if that fails."""
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


def append_flushed(path: Path, lines: bytes) -> None:
    """Append lines to a file and flush it to disk; a process that dies may cut the last one.

    Raises:
        OSError: they can't be written; the error names the file.

    >>> append_flushed(Path("lines.txt"), b"one\\n")
    >>> append_flushed(Path("lines.txt"), b"two\\n")
    >>> Path("lines.txt").read_bytes()
    b'one\\ntwo\\n'
    """
    with _named(path), path.open("ab") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _named(path: Path) -> Generator[None]:
    """Name the file that was asked for in an error of the system, which may name none at all."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def read_file(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        FileNotFoundError: it is not there, which the caller has words for.
        InputError: it can't be read, for example because it is a folder.

    >>> read_file(Path("."))
    Traceback (most recent call last):
    refusal_lens.errors.InputError: '.' can't be read (Is a directory); give a file that can be read
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(
            f"{str(path)!r} can't be read ({error.strerror}); give a file that can be read"
        ) from None


def read_utf8(path: Path) -> str:
    r"""The text of a UTF-8 file, its lines ended by "\n", without the byte order mark that some
    editors put in front.

    Raises:
        FileNotFoundError: it is not there.
        InputError: it can't be read, or is not UTF-8.

    >>> _ = Path("x.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    >>> read_utf8(Path("x.txt"))
    'one\ntwo'
    """
    try:
        text = read_file(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

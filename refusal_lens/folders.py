"""Files that are written whole, and their folders: made, or one clear line."""

import os
import tempfile
from pathlib import Path

from refusal_lens.errors import InputError


def make_folder_of(path: Path) -> None:
    """Make the folder that a file is to be written into.

    Raises:
        InputError: the path names a folder, or its folder can't be made.

    >>> make_folder_of(Path("."))
    Traceback (most recent call last):
    refusal_lens.errors.InputError: '.' is a folder; give the name of a file to write
    """
    if path.is_dir():
        raise InputError(f"{str(path)!r} is a folder; give the name of a file to write")
    make_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, where they are not there yet.

    Raises:
        InputError: it can't be made, for example because there is a file of that name.

    >>> make_folder(Path("made/here"))
    >>> Path("made/here").is_dir()
    True
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "there is a file of that name" if folder.is_file() else error.strerror
        raise InputError(
            f"the folder {str(folder)!r} can't be made ({why}); give another place"
        ) from None


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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def append_flushed(path: Path, lines: bytes) -> None:
    """Append lines to a file and flush it to disk; a process that dies may cut the last one."""
    with path.open("ab") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())

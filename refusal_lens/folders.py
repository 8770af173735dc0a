"""Folders that files are written into: made, or refused in one clear line. What stands at a path
that somebody gave, whatever it is, and how it is called in what is written."""

import os
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
    if is_folder(path):
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
        why = "there is a file of that name" if is_file(folder) else error.strerror
        raise InputError(
            f"the folder {str(folder)!r} can't be made ({why}); give another place"
        ) from None


def is_there(path: Path) -> bool:
    """Whether something is there; no, where the system allows no such name, or no look.

    >>> is_there(Path(".")), is_there(Path("x" * 300))
    (True, False)
    """
    try:
        return path.exists()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """Whether a file is there, asked as in `is_there`."""
    return is_there(path) and path.is_file()


def is_folder(path: Path) -> bool:
    """Whether a folder is there, asked as in `is_there`."""
    return is_there(path) and path.is_dir()


def flush(*paths: Path) -> None:
    """Force files, and the names in folders, to disk: a file moved there outlasts a power cut.

    >>> flush(Path("."))
    """
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def written_name(name: str) -> str:
    """What records and pages call a model or a file: no folders of the machine it was read on.

    Of an absolute path, or one that begins with a dot, the last part; any other name as it is.

    >>> written_name("/home/me/models/chat"), written_name("org/chat@main")
    ('chat', 'org/chat@main')
    """
    path = Path(name)
    return path.name or name if path.is_absolute() or name.startswith(".") else name

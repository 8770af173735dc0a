"""Folders that files are written into: made, or refused in one clear line."""

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

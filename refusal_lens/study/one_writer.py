"""One command at a time writes into a run folder.

Each keeps the manifest in memory and writes it whole, so that a second one would take back what the
first has written.
"""

import inspect
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from refusal_lens.errors import InputError
from refusal_lens.folders import is_file, is_there, make_folder
from refusal_lens.processes import this_process

P = ParamSpec("P")
T = TypeVar("T")

LOCK: Final = ".lock"
"""The file in a run folder that its writer holds; it is empty, and stays when the writer ends."""


def one_writer(write: Callable[P, T]) -> Callable[P, T]:
    """Let a function write into the run folder that it is given as `folder`, and no other process.

    Several processes of one run (torchrun) are one writer. The function raises InputError where
    another command works in the folder.

    >>> @one_writer
    ... def describe(folder: Path) -> str:
    ...     return folder.name
    >>> describe(Path("runs/new"))
    'new'
    """
    parameters = inspect.signature(write)

    @wraps(write)
    def alone(*args: P.args, **kwargs: P.kwargs) -> T:
        folder = Path(parameters.bind(*args, **kwargs).arguments["folder"])
        with _held(folder):
            return write(*args, **kwargs)

    return alone


@contextmanager
def _held(folder: Path) -> Generator[None]:
    """Hold the folder's lock, which the operating system frees when a process is killed."""
    if not this_process().is_main or is_file(folder):  # a file is named by who writes
        yield
        return
    missing = [path for path in (folder, *folder.parents) if not is_there(path)]
    make_folder(folder)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(
            f"another command is writing into {str(folder)!r}; wait until it has ended, or give "
            "another folder"
        ) from None
    except (OSError, NotImplementedError):  # a disk without locks: who writes says what is wrong
        yield
        return
    try:
        yield
    finally:
        lock.release()
        if list(folder.iterdir()) == [folder / LOCK]:  # nothing came of it, as of a wrong name
            (folder / LOCK).unlink()
            with suppress(OSError):  # another command has begun a folder of its own there
                for path in missing:
                    path.rmdir()

"""What is around a command: other packages' notices, the terminal, and a system that refuses."""

import errno
import io
import logging
import os
import sys
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from refusal_lens.errors import InputError, printable
from refusal_lens.files import FULL

_NO_ROOM: Final = (*FULL, errno.EIO)
_NO_FILE: Final = (
    *(errno.EACCES, errno.EPERM, errno.EROFS),
    *(errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG),
)


@contextmanager
def refused_by_the_system() -> Generator[None]:
    """A full disk or a file that can't be had as one clear line; other errors stay as they are.

    Raises:
        InputError: in place of such an `OSError`.

    >>> with refused_by_the_system():
    ...     open(".")
    Traceback (most recent call last):
    refusal_lens.errors.InputError: '.' can't be read or written (Is a directory); look at what is \
there and who may use it, or give another place
    """
    try:
        yield
    except OSError as error:
        name, why = error.filename, error.strerror
        if error.errno in _NO_ROOM:
            place = "a file" if name is None else repr(name)
            line = f"{place} can't be written or read ({why}); make room there, or give another"
        elif error.errno in _NO_FILE and name is not None:  # without one it may be a connection
            line = (
                f"{name!r} can't be read or written ({why}); look at what is there and who may use "
                "it, or give another"
            )
        else:
            raise
        raise InputError(f"{line} place") from error


def escape_what_terminals_lack() -> None:
    r"""Print a character that a terminal's encoding lacks as its escape, as in `\u4f60`.

    An error would end the command before what it measured is written.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def quiet_libraries() -> None:
    """Keep other packages' notices off the screen; errors still come through."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"(?!refusal_lens)")
    warnings.formatwarning = _one_line


def _one_line(message: Warning | str, *where: object, **more: object) -> str:
    """A warning as people at a terminal read it, without the line of code that gave it."""
    del where, more
    return printable(f"refusal-lens: {message}") + "\n"

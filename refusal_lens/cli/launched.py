"""A command as one of the processes that torchrun or `accelerate launch` started: one prints."""

import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Final, TextIO

from refusal_lens.errors import InputError
from refusal_lens.processes import ProcessEndedError, joined, launched, this_process

_FAULT: Final = 1
_INPUT: Final = 2
_LINGER_S: Final = 1.0  # others that look for the one that died must still see this one


@contextmanager
def one_of_several() -> Generator[None]:
    """Take part in the run that a launcher started; without one nothing changes.

    Every process does the same, and rank 0 prints it. Where a process has ended, the lowest rank
    that is left says which one, and the command ends with 1.
    """
    error_stream, is_main = sys.stderr, not launched() or os.environ["RANK"] == "0"
    try:
        with joined(), _quiet(not is_main):
            try:
                yield
            except ProcessEndedError as error:
                _say(error, error_stream)
    except InputError:
        if is_main:
            raise
        sys.exit(_INPUT)


@contextmanager
def _quiet(really: bool) -> Generator[None]:
    with ExitStack() as stack:
        if really:
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        yield


def _say(error: ProcessEndedError, stream: TextIO) -> None:
    """Which process has ended, once, and how to go on; then end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a launcher stops all when one has died
    if this_process().speaks:
        way_on = "what is finished is kept: run the same command again"
        stream.write(f"refusal-lens: {error}; {way_on}\n")
        stream.flush()
    time.sleep(_LINGER_S)
    sys.exit(_FAULT)

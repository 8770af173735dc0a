"""Batches that fit: when memory runs out, half as many rows at a time, and the work goes on."""

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar, final

import torch

from refusal_lens.errors import InputError

T = TypeVar("T")

_WORDS: Final = ("not enough memory", "can't allocate memory", "out of memory", "ALLOC_FAILED")


class MemoryWarning(UserWarning):
    """Memory ran out, and fewer rows run at a time from now on."""


@final
class BatchSize:
    """How many rows run at a time at most; what runs out of memory halves it, for good."""

    def __init__(self, most: int) -> None:
        self.most = most

    def halve(self, tried: int) -> None:
        """Half of what was tried, from now on, and one line that says so."""
        self.most = max(1, tried // 2)
        line = f"memory ran out with {tried} rows at a time; going on with {self.most}"
        warnings.warn(line, MemoryWarning, stacklevel=1)


def ran_out(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on an accelerator or on the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS)


@contextmanager
def enough_for(what: str) -> Generator[None]:
    """Say in one line that memory ran out, where nothing smaller can be tried.

    Raises:
        InputError: it did; `what` is in the line.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        raise InputError(
            f"memory ran out with {what}; give another device or a smaller dtype, or a smaller "
            "model"
        ) from None


def in_batches(
    units: Sequence[Sequence[int]],
    size: BatchSize,
    work: Callable[[list[int]], T],
    *,
    times: int = 1,
    cap: int | None = None,
) -> Iterator[tuple[list[int], T]]:
    """The rows of some whole units, and what `work` makes of them, unit after unit.

    A unit is what must share a batch. `work` is called again with fewer units where memory ran
    out: it must change nothing before it has succeeded. `times` as many rows as `size` says go
    together where rows are that much shorter than prompts, and never more than `cap`.

    Raises:
        RuntimeError, MemoryError: memory ran out with a single unit.
    """
    start = 0
    while start < len(units):
        most = min(size.most * times, cap or size.most * times)
        rows, end = [*units[start]], start + 1
        while end < len(units) and len(rows) + len(units[end]) <= most:
            rows += units[end]
            end += 1
        try:
            result = work(rows)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error) or end == start + 1:
                raise
        else:
            yield rows, result
            start = end
            continue
        _let_go()
        cap = max(1, len(rows) // 2)
        size.halve(-(-len(rows) // times))


def until_empty(
    waiting: deque[int],
    size: BatchSize,
    work: Callable[[int], object],
    *,
    cap: int | None = None,
) -> None:
    """Let `work` take rows off the front of `waiting` until none is left there.

    It is told how many may run at a time, at most `cap`, and called again with fewer where memory
    ran out: before it raises it must put back the rows that it has not finished.

    Raises:
        RuntimeError, MemoryError: memory ran out with a single row.

    >>> waiting = deque([3, 1, 2])
    >>> until_empty(waiting, BatchSize(2), lambda most: print([waiting.popleft()], most))
    [3] 2
    [1] 2
    [2] 2
    """
    while waiting:
        most = min(size.most, cap or size.most)
        try:
            work(most)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error) or min(most, len(waiting)) <= 1:
                raise
        else:
            continue
        _let_go()
        tried = min(most, len(waiting))
        cap = max(1, tried // 2)
        size.halve(tried)


def _let_go() -> None:
    """Give back what torch holds; to be called where an error and its frames' tensors are gone."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()

"""Timing tasks that take turns, and the ratio between them."""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Task = Callable[[], object]


@dataclass
class Timing:
    """Wall and CPU seconds of one task, turn by turn."""

    wall: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])


@dataclass(frozen=True)
class Ratio:
    """Median and range of a ratio over the turns."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """The ratio of two tasks that took turns."""
    each = [a / b for a, b in zip(above, below, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))


def take_turns(tasks: dict[str, Task], repeats: int) -> dict[str, Timing]:
    """Run every task once a turn, `repeats` turns."""
    found = {name: Timing() for name in tasks}
    for turn in range(repeats):
        for name, task in tasks.items():
            wall, cpu = time.perf_counter(), time.process_time()
            task()
            found[name].cpu.append(time.process_time() - cpu)
            found[name].wall.append(time.perf_counter() - wall)
            say(f"turn {turn + 1}, {name}: {found[name].wall[-1]:.1f} s")
    return found


def say(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)

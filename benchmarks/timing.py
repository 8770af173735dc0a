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

    def add(self, wall: float, cpu: float) -> None:
        """Append the seconds of one more run."""
        self.wall.append(wall)
        self.cpu.append(cpu)


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
            found[name].add(*seconds(task))
            say(f"turn {turn + 1}, {name}: {found[name].wall[-1]:.1f} s")
    return found


def between(plain: Task, tasks: dict[str, Task], repeats: int) -> dict[str, tuple[Timing, Timing]]:
    """Run every task between two runs of a plain one, `repeats` turns.

    For each task the plain seconds, mean of the runs just before and just behind it, and its own:
    small differences show although the machine is faster at one time than at another.
    """
    found = {name: (Timing(), Timing()) for name in tasks}
    for turn in range(repeats):
        before = seconds(plain)
        for name, task in tasks.items():
            own, behind = seconds(task), seconds(plain)
            around = [(a + b) / 2 for a, b in zip(before, behind, strict=True)]
            found[name][0].add(*around)
            found[name][1].add(*own)
            say(f"turn {turn + 1}, {name}: {own[0]:.1f} s, plain {around[0]:.1f} s")
            before = behind
    return found


def seconds(task: Task) -> tuple[float, float]:
    """Wall and CPU seconds of one run of a task."""
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - cpu


def say(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)

"""Timing tasks that take turns, and the ratio between them."""

import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from refusal_lens.study.peak_memory import peak_memory_mib

Task = Callable[[], object]
MIB = 1024 * 1024


@dataclass
class Timing:
    """Wall and CPU seconds of one task, and how far memory rose above its beginning, per turn.

    `result` is what the task returned the last time: what is compared is compared in numbers, too.
    """

    wall: list[float] = field(default_factory=list[float])
    cpu: list[float] = field(default_factory=list[float])
    rise_mib: list[float] = field(default_factory=list[float])
    result: Any = None

    def add(self, wall: float, cpu: float, rise_mib: float = 0.0) -> None:
        """Append one more run."""
        self.wall.append(wall)
        self.cpu.append(cpu)
        self.rise_mib.append(rise_mib)

    def first(self) -> "Timing":
        """The first run alone, to compare with what ran once."""
        return Timing(self.wall[:1], self.cpu[:1], self.rise_mib[:1], self.result)

    def times(self, factor: float) -> "Timing":
        """The same for `factor` times the work, where only a part of it was run."""
        return Timing(
            [s * factor for s in self.wall],
            [s * factor for s in self.cpu],
            self.rise_mib,
            self.result,
        )


@dataclass(frozen=True)
class Ratio:
    """Median and range of a ratio over the turns."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        digits = 3 if self.median < 0.1 else 2
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """The ratio of two tasks that took turns."""
    each = [a / b for a, b in zip(above, below, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each))


def take_turns(tasks: dict[str, Task], turns: int) -> dict[str, Timing]:
    """Run every task once per turn."""
    timings = {name: Timing() for name in tasks}
    for turn in range(turns):
        for name, task in tasks.items():
            measure_into(timings[name], task)
            say(f"turn {turn + 1}, {name}: {timings[name].wall[-1]:.2f} s")
    return timings


def between(plain: Task, tasks: dict[str, Task], turns: int) -> dict[str, tuple[Timing, Timing]]:
    """Run every task between two runs of a plain one.

    Per task the plain seconds, mean of the runs just before and just behind it, and its own: small
    differences show although the machine is faster at one time than at another.
    """
    timings = {name: (Timing(), Timing()) for name in tasks}
    for turn in range(turns):
        before = seconds(plain)
        for name, task in tasks.items():
            during, behind = seconds(task), seconds(plain)
            around = [(a + b) / 2 for a, b in zip(before, behind, strict=True)]
            timings[name][0].add(*around)
            timings[name][1].add(*during)
            say(f"turn {turn + 1}, {name}: {during[0]:.1f} s, plain {around[0]:.1f} s")
            before = behind
    return timings


def seconds(task: Task) -> tuple[float, float]:
    """Wall and CPU seconds of one run of a task."""
    wall, cpu = time.perf_counter(), time.process_time()
    task()
    return time.perf_counter() - wall, time.process_time() - cpu


def reset_peak() -> None:
    """Begin the peak of memory anew where the system can (Linux), else count from the start."""
    path = Path("/proc/self/clear_refs")
    if path.exists():
        path.write_text("5")


def measure_into(timing: Timing, task: Task) -> None:
    """Run a task once more and add what it took."""
    timing.result = None  # the memory of the turn before is not this one's
    gc.collect()
    reset_peak()
    before = psutil.Process().memory_info().rss / MIB

    def keep() -> None:
        timing.result = task()

    wall, cpu = seconds(keep)
    timing.add(wall, cpu, max(0.0, peak_memory_mib() - before))


def say(text: str) -> None:
    """Progress, to stderr."""
    print(text, file=sys.stderr, flush=True)

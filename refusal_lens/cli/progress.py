"""A study as it runs: the plan, then a bar per stage on a terminal, lines in a log elsewhere."""

import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final, final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from refusal_lens.processes import this_process
from refusal_lens.study.forecast import Forecast

if TYPE_CHECKING:  # the packages behind it take seconds to import
    from refusal_lens.study.run import PlannedStage

_GO_ON: Final = "stopped; the same command goes on from there"
_INTERRUPTED: Final = 130
_TERMINATED: Final = 143


class _TerminatedError(BaseException):
    """The process was asked to end (SIGTERM), as a cluster does at its time limit.

    No `Exception`: what a library does about its faults must not swallow it.
    """


@contextmanager
def bars(out: Console, err: Console) -> Generator["Bars"]:
    """Follows a study; whoever stops it, by Ctrl-C or SIGTERM, learns how to go on."""
    with _terminating():
        try:
            with Bars(out, err) as shown:
                yield shown
        except KeyboardInterrupt:
            err.print(_GO_ON)
            raise typer.Exit(_INTERRUPTED) from None
        except _TerminatedError:
            this_process().check()  # a launcher stops all when one has died: that one is named
            err.print(_GO_ON)
            raise typer.Exit(_TERMINATED) from None


def prepare_weights(source: str, err: Console) -> None:
    """Fetch and convert an embedded model's weights, if that is one, with a bar on a terminal."""
    from refusal_lens.embedded.folder import embedded_folder, ready_folder
    from refusal_lens.embedded.registry import find_embedded

    if (entry := find_embedded(source)) is None or ready_folder(entry.weights) is not None:
        return
    gigabytes = entry.weights.tensors_bytes / 1e9
    err.print(
        f"{entry.title} ({entry.licence}) is not here yet: it is fetched and converted once, "
        f"{gigabytes:.1f} GB on disk",
        markup=False,
        highlight=False,
    )
    with Progress(console=err, disable=not err.is_terminal) as shown:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = shown.add_task(what, total=total or None)
                if not err.is_terminal:
                    err.print(what, markup=False, highlight=False)
            shown.update(tasks[what], completed=done)

        embedded_folder(entry.weights, progress=progress)


@final
class Bars:
    """Prints the plan, then a bar per stage; without a terminal, lines as each begins and ends."""

    def __init__(self, out: Console, err: Console) -> None:
        self._out, self._err = out, err
        self._live = err.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=err,
            disable=not self._live,
        )
        self._task: TaskID | None = None
        self._names: list[str] = []
        self._forecast = Forecast({}, {})
        self._began = 0.0

    def __enter__(self) -> "Bars":
        self._progress.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def planned(self, stages: Sequence["PlannedStage"]) -> None:
        """Print what will be done and how long it should take."""
        self._names = [p.stage.name for p in stages]
        took = {p.stage.name: p.took or 0.0 for p in stages if p.done and p.took}
        self._forecast = Forecast({p.stage.name: p.seconds for p in stages}, took)
        table = Table("stage", "what", "estimate", title="plan")
        for p in stages:
            seconds = p.seconds * self._forecast.factor
            table.add_row(
                p.stage.name, escape(p.stage.title), "done" if p.done else _minutes(seconds)
            )
        self._out.print(table)
        left = self._forecast.left([p.stage.name for p in stages if not p.done])
        known = ", and from what finished stages took" if took else ""
        self._out.print(f"estimate: {_minutes(left)} (from timed passes on this machine{known})")

    def started(self, planned: "PlannedStage") -> Callable[[int], None]:
        """Open a bar, or say that a stage begins."""
        self._began = time.monotonic()
        if not self._live:
            expected = _minutes(planned.seconds * self._forecast.factor)
            self._log(f"{self._place(planned)} begins, about {expected}")
        task = self._progress.add_task(planned.stage.name, total=max(planned.ticks, 1))
        self._task = task
        return lambda n: self._progress.advance(task, n)

    def ended(self, planned: "PlannedStage", gap: str | None) -> None:
        """Fill the bar, or say why there is nothing, and how long is left."""
        name = planned.stage.name
        if gap is not None:
            self._forecast = self._forecast.with_stage(name, planned.seconds)
            self._err.print(f"{name}: not measured: {gap}", markup=False, highlight=False)
            return
        taken = time.monotonic() - self._began
        self._forecast = self._forecast.with_stage(name, taken)
        if self._task is not None:
            self._progress.update(self._task, completed=max(planned.ticks, 1))
        if not self._live:
            done = self._names.index(name) + 1
            left = _minutes(self._forecast.left(self._names[done:]))
            self._log(f"{self._place(planned)} done in {_minutes(taken)}; about {left} left")

    def _place(self, planned: "PlannedStage") -> str:
        place = self._names.index(planned.stage.name) + 1
        return f"{planned.stage.name} ({place} of {len(self._names)})"

    def _log(self, line: str) -> None:
        self._err.print(f"{time.strftime('%H:%M:%S')} {line}", markup=False, highlight=False)
        self._err.file.flush()


@contextmanager
def _terminating() -> Generator[None]:
    """SIGTERM as an exception, so that what is open is closed and the way on is said."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"

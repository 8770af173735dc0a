"""A study on the screen: the plan, then a bar a stage."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:  # the packages behind it take seconds to import
    from refusal_lens.study.run import PlannedStage


@contextmanager
def bars(out: Console, err: Console) -> Generator["Bars"]:
    """Who follows a study on the screen; whoever stops it learns how to go on."""
    try:
        with Bars(out, err) as shown:
            yield shown
    except KeyboardInterrupt:
        err.print("stopped; the same command goes on from there")
        raise typer.Exit(130) from None


@final
class Bars:
    """Prints the plan, then a bar a stage with the time left."""

    def __init__(self, out: Console, err: Console) -> None:
        self._out = out
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=err,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> "Bars":
        self._progress.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def planned(self, stages: Sequence["PlannedStage"]) -> None:
        """Print what will be done and how long it should take."""
        table = Table("stage", "what", "estimate", title="plan")
        for p in stages:
            table.add_row(
                p.stage.name, escape(p.stage.title), "done" if p.done else _minutes(p.seconds)
            )
        self._out.print(table)
        total = sum((p.seconds for p in stages if not p.done), 0.0)
        self._out.print(
            f"estimate: {_minutes(total)} (from one timed forward pass on this machine)"
        )

    def started(self, planned: "PlannedStage") -> Callable[[int], None]:
        """Open a bar."""
        task = self._progress.add_task(planned.stage.name, total=max(planned.ticks, 1))
        self._task = task
        return lambda n: self._progress.advance(task, n)

    def ended(self, planned: "PlannedStage", gap: str | None) -> None:
        """Fill the bar, or say why there is nothing."""
        if gap is not None:
            self._progress.console.print(
                f"{planned.stage.name}: not measured: {gap}", markup=False, highlight=False
            )
        elif self._task is not None:
            self._progress.update(self._task, completed=max(planned.ticks, 1))


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"

"""What a study prints: a log that says where a run is, estimates that learn, a way to go on."""

import io
import os
import signal
from dataclasses import dataclass, field

import pytest
import typer
from rich.console import Console

from refusal_lens.cli.progress import bars


@dataclass
class Stage:
    name: str
    title: str = "what it measures"


@dataclass
class Planned:
    stage: Stage
    seconds: float
    ticks: int = 3
    done: bool = False
    took: float | None = None
    gap: str | None = field(default=None)


def consoles():
    return Console(file=io.StringIO(), width=100), Console(file=io.StringIO(), width=100)


def text(console):
    return console.file.getvalue()


def test_without_a_terminal_each_stage_leaves_two_lines():
    out, err = consoles()
    plan = [Planned(Stage("behaviour"), 120.0), Planned(Stage("score"), 60.0)]
    with bars(out, err) as shown:
        shown.planned(plan)
        assert "estimate: 3.0 min" in text(out)
        tick = shown.started(plan[0])
        assert "behaviour (1 of 2) begins, about 2.0 min" in text(err)
        tick(3)
        shown.ended(plan[0], None)
        shown.started(plan[1])
        shown.ended(plan[1], "nothing was [bold]refused[/bold]")
    lines = text(err).splitlines()
    assert len(lines) == 4
    assert "behaviour (1 of 2) done in 0 s; about" in lines[1] and lines[1].endswith("left")
    assert lines[3] == "score: not measured: nothing was [bold]refused[/bold]"


def test_a_resumed_run_counts_finished_stages_as_nothing_and_learns_from_them():
    out, err = consoles()
    plan = [
        Planned(Stage("behaviour"), 100.0, done=True, took=300.0),
        Planned(Stage("score"), 100.0),
    ]
    with bars(out, err) as shown:
        shown.planned(plan)
    output = text(out)
    assert "done" in output and "what finished stages took" in output
    assert "estimate: 4.4 min" in output  # 100 s at (300 + 20) / (100 + 20)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_whoever_stops_it_learns_how_to_go_on(number, code):
    out, err = consoles()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(typer.Exit) as stopped, bars(out, err):
        os.kill(os.getpid(), number)
    assert stopped.value.exit_code == code
    assert "the same command goes on" in text(err)
    assert signal.getsignal(signal.SIGTERM) is before

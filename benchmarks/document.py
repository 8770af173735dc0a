"""What a benchmark gives: ratios with their targets, and a section of RESULTS.md."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, final

from benchmarks.timing import Ratio, Timing, ratio

INTRO: Final = """\
# Benchmark results

Appended by `make bench` and `make bench-peers` (`python -m benchmarks.run`). Figures are ratios of
things measured in one run, taking turns: median (lowest-highest). CPU time is that of the measured
process, all threads; it is the one to read where other work ran beside. The newest run comes last.
"""


@final
@dataclass(frozen=True)
class Target:
    """A bound of a ratio: at most, or at least."""

    bound: float
    at_least: bool = False

    def __str__(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {self.bound:g}"

    def met(self, value: float) -> bool:
        """Whether a ratio keeps it."""
        return value >= self.bound if self.at_least else value <= self.bound


@final
@dataclass(frozen=True)
class Outcome:
    """One ratio: of what, to what, its target, and how far the numbers of both differ."""

    work: str
    divided_by: str
    wall: Ratio
    cpu: Ratio
    gap: str
    target: Target | None = None

    def row(self) -> str:
        """A line of the table."""
        verdict = (
            "" if self.target is None else "yes" if self.target.met(self.wall.median) else "no"
        )
        return (
            f"| {self.work} | {self.divided_by} | {self.target or ''} | {self.wall} | {self.cpu} "
            f"| {verdict} | {self.gap} |"
        )


@final
@dataclass(frozen=True)
class Section:
    """What a benchmark measured, for the document.

    `ways` are the tasks of a comparison with their seconds; `n_tokens` is how many tokens of the
    prompts (or answers) each goes through, for the rate.
    """

    title: str
    about: str
    outcomes: Sequence[Outcome] = ()
    ways: Mapping[str, Timing] = field(default_factory=dict[str, Timing])
    n_tokens: int | None = None
    notes: str = ""

    def markdown(self) -> str:
        """The section."""
        parts = [f"### {self.title}", self.about]
        if self.outcomes:
            parts.append(outcome_table(self.outcomes))
        if self.ways:
            parts.append(way_table(self.ways, self.n_tokens))
        return "\n\n".join([*parts, *([self.notes] if self.notes else [])])


def compared(
    work: str,
    ours: Timing,
    other: tuple[str, Timing],
    *,
    gap: str,
    target: Target | None = None,
) -> Outcome:
    """The time of one way divided by that of another."""
    name, below = other
    wall, cpu = ratio(ours.wall, below.wall), ratio(ours.cpu, below.cpu)
    return Outcome(work, name, wall, cpu, gap, target)


def outcome_table(outcomes: Sequence[Outcome]) -> str:
    """All ratios, a row per comparison."""
    head = "| ratio of | to | target | wall time | CPU time | met | numbers differ by |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *(o.row() for o in outcomes)])


def way_table(ways: Mapping[str, Timing], n_tokens: int | None) -> str:
    """Median seconds of each way, its rate, and how far memory rose while it ran."""
    rate = "" if n_tokens is None else " tokens per wall second |"
    rows = [f"| way | wall seconds | CPU seconds |{rate} memory rose by |"]
    rows.append("|---|---|---|---|" + ("" if n_tokens is None else "---|"))
    for name, timing in ways.items():
        wall, cpu, rise = map(statistics.median, (timing.wall, timing.cpu, timing.rise_mib))
        per_second = "" if n_tokens is None else f" {n_tokens / wall:,.0f} |"
        rows.append(f"| {name} | {wall:.2f} | {cpu:.2f} |{per_second} {rise:,.0f} MiB |")
    return "\n".join(rows)


def append(path: Path, text: str) -> None:
    """Put text at the end of the document; what is there stays."""
    old = path.read_text(encoding="utf-8") if path.exists() else INTRO
    path.write_text(f"{old.rstrip()}\n\n{text.strip()}\n", encoding="utf-8")

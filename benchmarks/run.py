"""Measure speed and memory, print a table of ratios and append it to benchmarks/RESULTS.md.

Every figure is a ratio of two things measured in one run; seconds are beside it. The tasks of a
comparison take turns (A B C A B C ...), and a ratio is the median of the ratios within a turn.
Every comparison also says how far the numbers of both sides differ. Nothing here is a test.

    python -m benchmarks.run                          # all but the peers
    python -m benchmarks.run --only selection memory
    python -m benchmarks.run --small --out build/try.md  # a few prompts, to see that it runs
"""

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from benchmarks import (
    conditions,
    edit_kinds,
    forward_pass,
    generation,
    growth,
    intervals,
    memory,
    monitoring,
    peers,
    residual_stats,
    selection,
    studies,
    sweeping,
    trade_off,
)
from benchmarks.document import Outcome, Section, append, outcome_table
from benchmarks.machine import HERE, machine, moment
from benchmarks.setting import ROOT, Setting, forget_models, shipped_prompts
from benchmarks.timing import say
from refusal_lens.study import Study

BENCHMARKS: Final[dict[str, Callable[[Setting], Section]]] = {
    "statistics": residual_stats.measure,
    "memory": memory.measure,
    "selection": selection.measure,
    "conditions": conditions.measure,
    "trade_off": trade_off.measure,
    "generation": generation.measure,
    "monitoring": monitoring.measure,
    "edit_kinds": edit_kinds.measure,
    "forward_pass": forward_pass.measure,
    "sweeping": sweeping.measure,
    "growth": growth.measure,
    "intervals": intervals.measure,
    "studies": studies.measure,
    "peers": peers.measure,
}
APART: Final = ("peers",)  # they have an environment of their own: `make bench-peers`


def measure_all(names: Sequence[str], setting: Setting, out: Path) -> list[Outcome]:
    """Measure what is named, appending each section as soon as it is there."""
    load = os.getloadavg()[0]
    size = "" if setting.whole else ", a few prompts only"
    append(out, f"## {moment()}{size}")
    outcomes: list[Outcome] = []
    for name in names:
        say(f"measuring: {name}")
        section = BENCHMARKS[name](setting)
        if not setting.whole:  # targets are of the whole size
            section = replace(section, outcomes=[replace(o, target=None) for o in section.outcomes])
        append(out, section.markdown())
        outcomes += section.outcomes
        forget_models()
    if aimed := [o for o in outcomes if o.target is not None]:
        append(out, f"### Targets\n\n{outcome_table(aimed)}")
    append(out, f"*{machine(load)}*")
    return outcomes


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure speed and memory.")
    listed = [name for name in BENCHMARKS if name not in APART]
    parser.add_argument(
        "--only",
        nargs="+",
        choices=BENCHMARKS,
        default=listed,
        metavar="NAME",
        help=f"one or more of: {', '.join(BENCHMARKS)}",
    )
    parser.add_argument("--small", action="store_true", help="a few prompts, to see that it runs")
    parser.add_argument(
        "--model",
        nargs=2,
        metavar=("MODEL", "LARGER"),
        default=Setting.sources,
        help="embedded models or folders",
    )
    parser.add_argument("--turns", type=int, default=3, help="turns of a comparison")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "RESULTS.md")
    parser.add_argument(
        "--run",
        type=Path,
        nargs="+",
        help="run folders (studies)",
        default=[ROOT / Study(source).default_folder() for source in Setting.sources],
    )
    return parser.parse_args()


def main() -> None:
    """Measure, append, and print the table of all ratios."""
    args = arguments()
    torch.set_num_threads(args.threads)
    setting = Setting(
        shipped_prompts(), tuple(args.model), args.turns, not args.small, tuple(args.run)
    )
    print(outcome_table(measure_all(args.only, setting, args.out)))


if __name__ == "__main__":
    main()

"""What watching an answer costs, against plain generation of the same tokens."""

from typing import Final

import torch

from benchmarks.baselines import equal_tokens
from benchmarks.document import Outcome, Section, Target
from benchmarks.setting import Setting, lens, unending
from benchmarks.timing import Task, ratio, take_turns
from refusal_lens.model import Decoding
from refusal_lens.monitor import MonitorSettings, fit_monitor
from refusal_lens.prompts import PromptSet

PLAIN: Final = "`model.generate_ids`, one prompt at a time"
WATCHED: Final = "`monitor.watch`"
SLOWER: Final = Target(1.05)
FITTED: Final = 40  # prompts of either side: the numbers matter here, not the detection


def tasks_of(setting: Setting, prompts: list[str], n_tokens: int) -> dict[str, Task]:
    """The answers to a few prompts, one after the other, with and without a monitor."""
    model = lens(setting.source)
    texts = [f"Sell {i}?" for i in range(FITTED)], [f"Say {i}." for i in range(FITTED)]
    settings = MonitorSettings(tokens=min(10, n_tokens), alpha=0.2)
    monitor = fit_monitor(model, PromptSet.from_texts(*texts), settings=settings)
    decoding = Decoding(max_new_tokens=n_tokens)

    def plain() -> list[tuple[int, ...]]:
        with unending(model):
            return [model.generate_ids([prompt], decoding)[0] for prompt in prompts]

    def watched() -> list[tuple[int, ...]]:
        with unending(model):
            return [
                tuple(s.token for s in monitor.watch(model, p, decoding) if s.token is not None)
                for p in prompts
            ]

    return {PLAIN: plain, WATCHED: watched}


def measure(setting: Setting) -> Section:
    """8 prompts, 24 tokens each, one at a time."""
    n_tokens = setting.size(24, 4)
    chosen = setting.side("val", "refuse", setting.size(8, 2))
    tasks = tasks_of(setting, [p.text for p in chosen], n_tokens)
    tasks[PLAIN]()  # warm
    timings = take_turns(tasks, max(setting.turns, setting.size(9, 1)))
    wall = ratio(timings[WATCHED].wall, timings[PLAIN].wall)
    cpu = ratio(timings[WATCHED].cpu, timings[PLAIN].cpu)
    gap = equal_tokens(timings[WATCHED].result, torch.tensor(timings[PLAIN].result))
    model = lens(setting.source)
    return Section(
        "Watching",
        f"Greedy answers of {model.name} to {len(chosen)} prompts, one at a time, {n_tokens} "
        "tokens each: a loop with a monitor that reads the first of them, and plain generation. "
        "Ratio of times.",
        [Outcome(WATCHED, PLAIN, wall, cpu, gap, SLOWER)],
        timings,
        len(chosen) * n_tokens,
    )

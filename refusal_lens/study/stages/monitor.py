"""A monitor of suppressed refusal: fitted and calibrated, then tried on edited variants."""

from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from typing import Final, final

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.monitor import (
    Monitor,
    MonitorSettings,
    MonitorTrial,
    fit_monitor,
    monitor_variants,
    try_monitor,
)
from refusal_lens.monitor.conformal import least_prompts
from refusal_lens.monitor.scoring import DETECTORS
from refusal_lens.progress import Progress
from refusal_lens.prompts import LABELS, PromptSet, load_categories
from refusal_lens.prompts.repeats import once_each
from refusal_lens.study.compared import tested_prompts
from refusal_lens.study.fitted import FitSizes, Gap, pooled_set
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.sizes import StageSizes, size
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work, category_directions
from refusal_lens.suffixes import Suffix, load_suffixes

MONITOR: Final = Key("monitor_fit", "monitor", Monitor)
TRIAL: Final = Key("monitor", "trial", MonitorTrial)
_VARIANTS: Final = 13


@final
@dataclass(frozen=True)
class MonitorSizes(StageSizes):
    """Pairs of each category that a monitor is fitted and calibrated on, pairs over all categories
    that it is tried on, passes that it reads of an answer, and the false alarms that it may give.

    Of fewer categories than the project's own it takes as many pairs over all of them, and to
    calibrate never fewer than the rate of false alarms takes.
    """

    monitor_fit_pairs: int = size(10, full=32, quick=4)
    monitor_calibration_pairs: int = size(10, full=16, quick=4)
    monitor_test_pairs: int = size(99, full=297, quick=22)
    monitor_tokens: int = size(16, quick=4)
    monitor_alpha: float = size(0.05)


def fit(bench: Bench, tick: Progress) -> Records:
    """The monitor, on the splits `train` and `val`."""
    sizes = bench.size(MonitorSizes)
    settings = MonitorSettings(
        tokens=sizes.monitor_tokens,
        alpha=sizes.monitor_alpha,
        layer=chosen_layer(bench.results),
    )
    pooled = pooled_set(bench.results)
    try:
        monitor = fit_monitor(
            bench.model,
            _fitting(bench),
            directions=pooled,
            judge=bench.judge,
            settings=settings,
            progress=tick,
        )
    except InputError as error:
        raise Gap(str(error)) from None
    return {MONITOR: monitor}


def trial(bench: Bench, tick: Progress) -> Records:
    """The monitor on test prompts, unedited and under each variant."""
    monitor, layer = bench.results.get(MONITOR), chosen_layer(bench.results)
    variants = monitor_variants(
        monitor,
        pooled_set(bench.results),
        layer,
        bench.model.n_layers,
        others=_others(bench, layer),
        suffixes=_suffixes(),
    )
    try:
        measured = try_monitor(bench.model, monitor, _tested(bench), variants, bench.judge, tick)
    except InputError as error:
        raise Gap(str(error)) from None
    return {TRIAL: measured}


def _others(bench: Bench, layer: int) -> list[Direction]:
    with suppress(Gap):
        return category_directions(bench, layer)
    return []


def _suffixes() -> list[Suffix]:
    """The first suffix of each family."""
    return list({s.family: s for s in reversed(load_suffixes())}.values())


def _fitting(bench: Outline) -> PromptSet:
    sizes = bench.size(MonitorSizes)
    least = ceil(least_prompts(sizes.monitor_alpha, len(DETECTORS)) / len(LABELS))
    pairs = {
        "train": _over_all(bench, sizes.monitor_fit_pairs),
        "val": max(_over_all(bench, sizes.monitor_calibration_pairs), least),
    }
    k = len(bench.prompts.categories)
    prompts = [p for name, n in pairs.items() for p in once_each(bench.split(name, ceil(n / k)))]
    return PromptSet(tuple(prompts))


def _over_all(bench: Outline, n: int) -> int:
    """Pairs over all categories: a detector needs as many, however many categories they are of."""
    return n * max(len(bench.prompts.categories), len(load_categories()))


def _tested(bench: Outline) -> PromptSet:
    return tested_prompts(bench, bench.size(MonitorSizes).monitor_test_pairs)


def _fit_work(bench: Outline) -> Work:
    # A fifth more: the refused prompts are read once more under the edit.
    tokens = bench.size(MonitorSizes).monitor_tokens
    return Work.over(_fitting(bench), 1.2, 1.2 * tokens)


def _trial_work(bench: Outline) -> Work:
    prompts, tokens = len(_tested(bench)), bench.size(MonitorSizes).monitor_tokens
    return Work(1 + _VARIANTS, prompts / 2, prompts / 2 * tokens)


STAGES: Final = (
    Stage(
        "monitor_fit",
        "a monitor of suppressed refusal",
        run=fit,
        work=_fit_work,
        writes=(MONITOR,),
        needs=("directions", "geometry"),
        after=("selection", "contrasts"),
        uses=(FitSizes, MonitorSizes),
        plan="monitor",
        place=420,
    ),
    Stage(
        "monitor",
        "the monitor on edited variants",
        run=trial,
        work=_trial_work,
        writes=(TRIAL,),
        needs=("monitor_fit",),
        after=("selection", "contrasts"),
        uses=(FitSizes, MonitorSizes),
        plan="monitor",
        place=421,
    ),
)

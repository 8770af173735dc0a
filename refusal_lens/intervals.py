"""Estimates of rates and means with their 95% intervals."""

from collections.abc import Sequence
from typing import Final

from scipy import stats
from scipy.stats import binomtest

from refusal_lens.records import Estimate

LEVEL: Final = 0.95


def wilson(hits: int, n: int, control: float | None = None, missing: int = 0) -> Estimate:
    """A rate with its Wilson interval; undefined without observations."""
    method = "Wilson interval" + (f"; {missing} unclear left out" if missing else "")
    if n == 0:
        return Estimate(None, None, None, 0, method, control)
    interval = binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    return Estimate(hits / n, float(interval.low), float(interval.high), n, method, control)


def mean_estimate(values: Sequence[float], control: float | None = None) -> Estimate:
    """Mean with its 95% t interval over prompts; undefined with fewer than two values."""
    n = len(values)
    if n < 2:
        return Estimate(None, None, None, n, "mean, t interval", control)
    mean = float(sum(values) / n)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * stats.sem(values))
    return Estimate(mean, mean - half, mean + half, n, "mean over prompts, t interval", control)

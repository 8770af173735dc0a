"""Estimates of rates and means with their 95% intervals."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from scipy import stats
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from refusal_lens.records import Estimate

LEVEL: Final = 0.95
_DRAWS: Final = 2000


def wilson(hits: int, n: int, control: float | None = None, missing: int = 0) -> Estimate:
    """A rate with its Wilson interval; undefined without observations.

    `missing` counts answers that could not be read; they are in neither `hits` nor `n`.
    """
    method = "Wilson interval" + (f"; {missing} unclear left out" if missing else "")
    if n == 0:
        return Estimate(None, None, None, 0, method, control, missing)
    interval = binomtest(hits, n).proportion_ci(LEVEL, method="wilson")
    low, high = float(interval.low), float(interval.high)
    return Estimate(hits / n, low, high, n, method, control, missing)


def mean_estimate(values: Sequence[float], control: float | None = None) -> Estimate:
    """Mean with its 95% t interval over prompts; undefined with fewer than two values."""
    n = len(values)
    if n < 2:
        return Estimate(None, None, None, n, "mean, t interval", control)
    mean = float(sum(values) / n)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * stats.sem(values))
    return Estimate(mean, mean - half, mean + half, n, "mean over prompts, t interval", control)


def kappa(pairs: Sequence[tuple[str, str]], seed: int = 0) -> Estimate:
    """Cohen's kappa of two readings, with a percentile bootstrap over answers; control 0.

    Undefined (None) with fewer than two answers, or where a reader gave them all one label.
    """
    method = "Cohen's kappa, percentile bootstrap over answers; control: chance"
    labels, codes = np.unique(np.array(pairs, dtype=str).reshape(-1, 2), return_inverse=True)
    a, b = codes.reshape(-1, 2).T
    if len(pairs) < 2 or len({*a.tolist()}) < 2 or len({*b.tolist()}) < 2:
        return Estimate(None, None, None, len(pairs), method, 0.0)
    k, cell = len(labels), a * len(labels) + b
    values: list[float] = []
    rng = np.random.default_rng(seed)
    for rows in rng.integers(len(a), size=(_DRAWS, len(a))):
        # The same formula as scikit-learn's, from the table of a draw: two thousand calls of
        # cohen_kappa_score take seconds.
        share = np.bincount(cell[rows], minlength=k * k).reshape(k, k) / len(a)
        chance = float(share.sum(0) @ share.sum(1))
        if chance < 1:
            values.append((float(np.trace(share)) - chance) / (1 - chance))
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    value = float(cohen_kappa_score(a, b))
    return Estimate(value, float(low), float(high), len(pairs), method, 0.0)

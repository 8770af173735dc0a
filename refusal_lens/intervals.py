"""Estimates of rates and means with their 95% intervals."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from scipy import stats
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.records import Estimate

LEVEL: Final = 0.95
TAILS: Final = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
NORMAL: Final = float(stats.norm.ppf(TAILS[1]))
"""How many standard errors a two-sided normal interval reaches on either side."""

_DRAWS: Final = 2000


def finite_or_none(value: Float[Tensor, ""] | int | float) -> float | None:
    """The number, or None where it is undefined: NaN, or not finite.

    >>> finite_or_none(torch.tensor(0.5)), finite_or_none(float("nan"))
    (0.5, None)
    """
    number = float(value)
    return number if math.isfinite(number) else None


def t_quantile(df: Tensor | int | float, level: float = LEVEL) -> Tensor:
    """How many standard errors a two-sided t interval reaches on either side.

    `df` are degrees of freedom, one or many; NaN where there are none.

    >>> round(float(t_quantile(10)), 3)
    2.228
    """
    return torch.as_tensor(stats.t.ppf((1 + level) / 2, np.asarray(df)))


def jackknife_error(without: Float64[Tensor, "unit ..."]) -> Float64[Tensor, "..."]:
    """Standard error of a value, from the values without each unit.

    Of a mean it is the usual one:

    >>> x = torch.tensor([1.0, 2.0, 6.0]).double()
    >>> round(float(jackknife_error((x.sum() - x) / 2) - x.std() / 3**0.5), 9)
    0.0
    """
    n = len(without)
    return ((n - 1) / n * (without - without.mean(0)).square().sum(0)).sqrt()


def jackknife(
    value: Float64[Tensor, "..."], without: Float64[Tensor, "unit ..."]
) -> tuple[Float64[Tensor, "..."], Float64[Tensor, "..."], Float64[Tensor, "..."]]:
    """A statistic less its jackknife bias, and its 95% t bounds, from its values without each unit.

    >>> x = torch.tensor([1.0, 2.0, 6.0]).double()
    >>> value, low, high = jackknife(x.mean(), (x.sum() - x) / 2)
    >>> round(float(value), 6), round(float(high - value), 2)  # the t interval of a mean
    (3.0, 6.57)
    """
    n = len(without)
    unbiased = value - (n - 1) * (without.mean(0) - value)
    half = t_quantile(n - 1) * jackknife_error(without)
    return unbiased, unbiased - half, unbiased + half


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
    half = float(t_quantile(n - 1)) * float(stats.sem(values))
    return Estimate(mean, mean - half, mean + half, n, "mean over prompts, t interval", control)


def mcnemar_p(only_here: int, only_there: int) -> float:
    """Exact McNemar p, two-sided, of prompts that were refused under one condition alone.

    The probability that so many are split at least as unevenly by chance; 1 where there are none.

    >>> mcnemar_p(9, 1)
    0.021...
    """
    n = only_here + only_there
    return float(binomtest(only_here, n).pvalue) if n else 1.0


def benjamini_hochberg(p: Float64[Tensor, "..."]) -> Float64[Tensor, "..."]:
    """Each p after Benjamini-Hochberg over all of them; NaN (undefined) is no test and stays.

    >>> benjamini_hochberg(torch.tensor([0.01, 0.04, float("nan")]).double())
    tensor([0.02, 0.04,  nan], dtype=torch.float64)
    """
    q = torch.full_like(p, torch.nan)
    defined = torch.isfinite(p)
    if bool(defined.any()):
        q[defined] = torch.from_numpy(stats.false_discovery_control(p[defined].numpy()))
    return q


def kappa(
    pairs: Sequence[tuple[str, str]], seed: int = 0, prompts: Sequence[str] | None = None
) -> Estimate:
    """Cohen's kappa of two readings of answers, with a percentile bootstrap; control 0.

    Over answers; over prompts where `prompts` names each answer's: answers to one prompt under many
    conditions are not independent. Undefined (None) with fewer than two answers, or where a reader
    gave them all one label; without an interval where all are to one prompt.
    """
    over = "answers" if prompts is None else "prompts"
    method = f"Cohen's kappa, percentile bootstrap over {over}; control: chance"
    labels, codes = np.unique(np.array(pairs, dtype=str).reshape(-1, 2), return_inverse=True)
    a, b = codes.reshape(-1, 2).T
    if len(pairs) < 2 or len({*a.tolist()}) < 2 or len({*b.tolist()}) < 2:
        return Estimate(None, None, None, len(pairs), method, 0.0)
    k = len(labels)
    value = float(cohen_kappa_score(a, b))
    tables = _by_group(a * k + b, k * k, prompts)
    if len(tables) < 2:  # one prompt drawn again is always itself
        return Estimate(value, None, None, len(pairs), method, 0.0)
    # The same formula as scikit-learn's, from the table of a draw: two thousand calls of
    # cohen_kappa_score take seconds.
    share = _drawn(tables, seed).reshape(-1, k, k)
    chance = (share.sum(1) * share.sum(2)).sum(1)
    defined = chance < 1
    agreed = np.trace(share, axis1=1, axis2=2)
    values = (agreed[defined] - chance[defined]) / (1 - chance[defined])
    low, high = np.quantile(values, TAILS)
    return Estimate(value, float(low), float(high), len(pairs), method, 0.0)


def share_over_prompts(
    hits: Sequence[bool], prompts: Sequence[str], control: float | None = None, seed: int = 0
) -> Estimate:
    """A share of answers, several to a prompt, with a percentile bootstrap over prompts.

    Where all or none are hits, Wilson's interval of so many prompts; otherwise none where all
    answers are to one prompt.
    """
    method = "share, percentile bootstrap over prompts"
    value, n = float(np.mean(hits)) if hits else None, len(hits)
    if value in (None, 0.0, 1.0):
        groups = len(set(prompts))
        whole = wilson(groups if value else 0, groups)
        return Estimate(value, whole.low, whole.high, n, method, control)
    tables = _by_group(np.array(hits, dtype=np.int64), 2, prompts)
    if len(tables) < 2:  # one prompt drawn again is always itself
        return Estimate(value, None, None, n, method, control)
    drawn = _drawn(tables, seed)
    low, high = np.quantile(drawn[:, 1], TAILS)
    return Estimate(value, float(low), float(high), n, method, control)


def _by_group(
    cells: Int64[np.ndarray, " answer"], n_cells: int, groups: Sequence[str] | None
) -> Float[np.ndarray, "group cell"]:
    """How many answers of each group lie in each cell; without groups each is its own."""
    _, of = np.unique(
        np.arange(len(cells)) if groups is None else np.array(groups), return_inverse=True
    )
    counts = np.zeros((int(of.max()) + 1, n_cells))
    np.add.at(counts, (of, cells), 1.0)
    return counts


def _drawn(tables: Float[np.ndarray, "group cell"], seed: int) -> Float[np.ndarray, "draw cell"]:
    """Shares of the cells when groups are drawn again."""
    n = len(tables)
    rng = np.random.default_rng(seed)
    total = np.stack([tables[rng.integers(n, size=n)].sum(0) for _ in range(_DRAWS)])
    return total / total.sum(1, keepdims=True)


def accuracy(refusal_rate: float, over_refusal_rate: float) -> float:
    """(RR + 1 - ORR) / 2: the accuracy of a design with as many harmful as benign prompts.

    Joad et al. 2026, table 2.

    Raises:
        InputError: a rate outside 0 to 1.

    >>> accuracy(0.9, 0.2)
    0.85
    """
    for rate in (refusal_rate, over_refusal_rate):
        if not 0 <= rate <= 1:
            raise InputError(f"rate {rate} is not between 0 and 1")
    return (refusal_rate + 1 - over_refusal_rate) / 2

"""Split conformal thresholds: a bound on the false-alarm rate that holds for any score.

Scores of n held-out unedited prompts calibrate. If a further unedited prompt is exchangeable with
them, its score exceeds the k-th smallest with probability at most 1 - k / (n + 1), without any
assumption on the distribution (Vovk et al. 2005; Lei et al. 2018). With
k = ceil((n + 1)(1 - alpha)) that is at most alpha: the "+ 1" is the finite-sample correction.
"""

import math
from collections.abc import Sequence

from scipy.stats import beta

from refusal_lens.errors import InputError
from refusal_lens.intervals import LEVEL
from refusal_lens.records import Estimate


def check_rate(alpha: float) -> None:
    """Reject a false-alarm rate that is none.

    Raises:
        InputError: alpha is not between 0 and 1, or no number.
    """
    if not 0 < alpha < 1:  # NaN is neither
        raise InputError(f"a false-alarm rate of {alpha}; give a number between 0 and 1")


def least_prompts(alpha: float, n_detectors: int = 1) -> int:
    """How many it takes to calibrate detectors of which each has an equal part of alpha.

    >>> least_prompts(0.05), least_prompts(0.05, 2)
    (19, 39)

    Raises:
        InputError: as `check_rate`.
    """
    check_rate(alpha)
    return math.ceil(n_detectors / alpha - 1 - 1e-9)


def check_calibration(n: int, alpha: float, n_detectors: int = 1) -> None:
    """Reject fewer prompts than `least_prompts`.

    >>> check_calibration(39, 0.05, 2)
    >>> check_calibration(38, 0.05, 2)
    Traceback (most recent call last):
    refusal_lens.errors.InputError: 38 held-out prompts, each wording counted once, can't...

    Raises:
        InputError: too few prompts for it, or as `check_rate`.
    """
    least = least_prompts(alpha, n_detectors)
    if n < least:
        over = f" over {n_detectors} detectors" if n_detectors > 1 else ""
        raise InputError(
            f"{n} held-out prompts, each wording counted once, can't calibrate a false-alarm rate "
            f"of {alpha:g}{over}: it takes at least {least}; give more prompts, or allow more "
            "false alarms"
        )


def conformal_rank(n: int, alpha: float) -> int:
    """Which of n sorted calibration scores is the threshold, counted from 1: ceil((n+1)(1-alpha)).

    >>> conformal_rank(99, 0.05)
    95

    Raises:
        InputError: as `check_calibration`.
    """
    check_calibration(n, alpha)
    return math.ceil((n + 1) * (1 - alpha) - 1e-9)


def conformal_threshold(scores: Sequence[float], alpha: float) -> float:
    """The score that a further unedited prompt exceeds with probability at most alpha.

    >>> conformal_threshold([float(i) for i in range(1, 100)], 0.05)
    95.0

    Raises:
        InputError: as `conformal_rank`.
    """
    return sorted(scores)[conformal_rank(len(scores), alpha) - 1]


def calibrated_rate(n: int, alpha: float) -> Estimate:
    """The false-alarm rate that n calibration scores give: its mean, and where it lies in 95%.

    Over draws of the calibration prompts the rate of one threshold follows Beta(n + 1 - k, k) where
    scores have no ties; `value` is its mean (n + 1 - k) / (n + 1), which is at most alpha.

    >>> rate = calibrated_rate(99, 0.05)
    >>> rate.value, rate.low < 0.05 < rate.high
    (0.05, True)
    """
    rank = conformal_rank(n, alpha)
    over = n + 1 - rank
    low, high = beta.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], over, rank)
    method = "split conformal; range over calibration sets of this size: beta distribution"
    return Estimate(over / (n + 1), float(low), float(high), n, method)

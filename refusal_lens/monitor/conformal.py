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


def conformal_rank(n: int, alpha: float) -> int:
    """Which of n sorted calibration scores is the threshold, counted from 1: ceil((n+1)(1-alpha)).

    >>> conformal_rank(99, 0.05)
    95

    Raises:
        InputError: alpha outside 0 to 1, or too few scores for it.
    """
    if not 0 < alpha < 1:
        raise InputError(f"a false-alarm rate of {alpha}; give a number between 0 and 1")
    rank = math.ceil((n + 1) * (1 - alpha) - 1e-9)
    if rank > n:
        least = math.ceil(1 / alpha - 1 - 1e-9)
        raise InputError(
            f"{n} held-out prompts can't calibrate a false-alarm rate of {alpha:g}: it takes at "
            f"least {least}; give more prompts, or allow more false alarms"
        )
    return rank


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

"""Differences of two rates: with an interval, or tested on the same prompts."""

from collections.abc import Mapping

from refusal_lens.intervals import mcnemar_p, wilson
from refusal_lens.records import Estimate


def rate_difference(
    hits: int, n: int, other_hits: int, other_n: int, control: float | None = None
) -> Estimate:
    """One rate less another, of independent prompts, with Newcombe's 95% interval (1998, method
    10: from the two Wilson intervals); undefined where a side has no prompt.

    >>> str(rate_difference(15, 20, 5, 20))
    '0.500 [0.191, 0.695] (n=40)'
    """
    method = "difference of rates, Newcombe interval"
    a, b = wilson(hits, n), wilson(other_hits, other_n)
    if a.value is None or b.value is None:
        return Estimate(None, None, None, n + other_n, method, control)
    assert a.low is not None and a.high is not None and b.low is not None and b.high is not None
    value = a.value - b.value
    low = value - ((a.value - a.low) ** 2 + (b.high - b.value) ** 2) ** 0.5
    high = value + ((a.high - a.value) ** 2 + (b.value - b.low) ** 2) ** 0.5
    return Estimate(value, low, high, n + other_n, method, control)


def paired_p(here: Mapping[str, bool], there: Mapping[str, bool]) -> float:
    """Exact McNemar p, two-sided, of verdicts by prompt under two conditions.

    Prompts read under both count; 1 where none differs.

    >>> paired_p({"a": True, "b": True}, {"a": False, "b": True})
    1.0
    """
    both = here.keys() & there.keys()
    only = sum(here[key] and not there[key] for key in both)
    other = sum(there[key] and not here[key] for key in both)
    return mcnemar_p(only, other)

"""The estimators by name: every file of this folder that defines `ESTIMATOR`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from refusal_lens.directions.estimator import Estimator
from refusal_lens.discovery import modules_of
from refusal_lens.errors import InputError


def _discovered() -> Mapping[str, Estimator]:
    modules = modules_of("refusal_lens.directions")
    each: list[Estimator] = [m.ESTIMATOR for m in modules if hasattr(m, "ESTIMATOR")]
    return MappingProxyType({estimator.name: estimator for estimator in each})


ESTIMATORS: Final = _discovered()
"""Name -> estimator. A new one is a new file; nothing is listed by hand."""


def make_estimator(name: str) -> Estimator:
    """The estimator of that name.

    >>> make_estimator("mean_difference").from_sums
    True

    Raises:
        InputError: there is none.
    """
    if name not in ESTIMATORS:
        raise InputError(f"estimator {name!r} is unknown; use one of {sorted(ESTIMATORS)}")
    return ESTIMATORS[name]

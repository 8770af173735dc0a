"""The estimators by name: every file of this folder that defines `ESTIMATOR`."""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Final

from refusal_lens.directions.estimator import Estimator
from refusal_lens.errors import InputError

_FOLDER: Final = "refusal_lens.directions"
_OTHERS: Final = {"direction", "direction_set", "estimator", "hub", "registry"}


def _discovered() -> Mapping[str, Estimator]:
    folder = import_module(_FOLDER).__path__
    names = sorted({file.name for file in iter_modules(folder) if not file.ispkg} - _OTHERS)
    each: list[Estimator] = [import_module(f"{_FOLDER}.{name}").ESTIMATOR for name in names]
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

"""Where a value differs from the expected one, in words: its kind, its shape, its numbers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor

_RTOL: Final = 1e-3  # float32, by whatever order of operations; ids and counts are exact
_ATOL: Final = 1e-5


def mismatch(value: Any, expected: Any) -> str | None:
    """What is wrong with a value, as the end of a sentence on it; None if it is as expected.

    A tensor with one number counts as a number, and a list or an array as a tuple.
    """
    if isinstance(expected, Tensor) and not expected.ndim:
        expected = expected.item()
    if isinstance(value, Tensor) and (value := plain_tensor(value)) is None:
        return "is a tensor without numbers in rows (meta or nested), expected plain ones"
    if isinstance(expected, Tensor):
        return _tensor_mismatch(value, expected)
    value = _without_library(value)
    if expected is None or value is None:
        return None if value is expected else f"is {_shown(value)}, expected {_shown(expected)}"
    if isinstance(expected, bool | str):
        same = type(value) is type(expected) and value == expected
        return None if same else f"is {_shown(value)}, expected {_shown(expected)}"
    if isinstance(expected, int | float):
        rtol = 0.0 if isinstance(expected, int) else _RTOL
        return _number_mismatch(value, float(expected), rtol)
    if isinstance(expected, Mapping):
        return _mapping_mismatch(value, cast(Mapping[str, Any], expected))
    return _sequence_mismatch(value, cast(Sequence[Any], expected))


def plain_tensor(value: Tensor) -> Tensor | None:
    """The same numbers on the CPU, dense and without a graph; None where there are none."""
    if value.is_meta or value.is_nested:
        return None
    value = value.detach()
    return (value if value.layout == torch.strided else value.to_dense()).cpu()


def _without_library(value: Any) -> Any:
    """A tensor of one number as that number, NumPy's values as Python's."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.item()
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _tensor_mismatch(value: Any, expected: Tensor) -> str | None:
    shape = tuple(expected.shape)
    if isinstance(value, np.ndarray):
        return f"is a NumPy array, expected a tensor of shape {shape} (`torch.as_tensor` makes one)"
    if not isinstance(value, Tensor):
        return f"is {_kind(value)}, expected a tensor of shape {shape}"
    if tuple(value.shape) != shape:
        return f"has shape {tuple(value.shape)}, expected {shape}"
    if value.is_complex():
        return "has complex numbers, expected real ones"
    ours, theirs = expected.detach().double(), value.detach().double()
    rtol = _RTOL if expected.is_floating_point() else 0.0
    if torch.allclose(theirs, ours, rtol=rtol, atol=_ATOL, equal_nan=True):
        return None
    gap = (theirs - ours).abs()
    gap = torch.where(gap.isnan(), torch.inf, gap)
    at = tuple(int(i) for i in torch.unravel_index(gap.argmax(), gap.shape))
    where = f" at index {at}" if shape else ""
    return f"is {in_digits(float(theirs[at]))}{where}, expected {in_digits(float(ours[at]))}"


def _number_mismatch(value: Any, expected: float, rtol: float) -> str | None:
    if isinstance(value, Tensor):
        return f"is a tensor of shape {tuple(value.shape)}, expected a number"
    if isinstance(value, str | bytes | bool):  # `float` would take them
        return f"is {_shown(value)}, expected a number"
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return f"is {_kind(value)}, expected a number"
    both_nan = math.isnan(number) and math.isnan(expected)
    same = both_nan or math.isclose(number, expected, rel_tol=rtol, abs_tol=_ATOL)
    return None if same else f"is {in_digits(number)}, expected {in_digits(expected)}"


def in_digits(number: float) -> str:
    """Four digits of a number; a whole one, as an id is, with all of them.

    >>> in_digits(33214.0), in_digits(0.123456)
    ('33214', '0.1235')
    """
    return f"{number:.4g}" if number % 1 or abs(number) > 1e9 else str(int(number))


def _mapping_mismatch(value: Any, expected: Mapping[str, Any]) -> str | None:
    if not isinstance(value, Mapping) or set(cast(Mapping[Any, Any], value)) != set(expected):
        return f"is {_shown(value)}, expected a dict with the keys {sorted(expected)}"
    for key, part in expected.items():
        if words := mismatch(value[key], part):
            return f"at {key!r} {words}"
    return None


def _sequence_mismatch(value: Any, expected: Sequence[Any]) -> str | None:
    if isinstance(value, Tensor):
        value = value.tolist()
    if not isinstance(value, list | tuple):
        return f"is {_kind(value)}, expected {len(expected)} values"
    items = cast(Sequence[Any], value)
    if len(items) != len(expected):
        return f"has {len(items)} value{'s' * (len(items) != 1)}, expected {len(expected)}"
    for i, (item, part) in enumerate(zip(items, expected, strict=True)):
        if words := mismatch(item, part):
            deeper = words.startswith("at index ")
            return f"at index {i}, {words[9:]}" if deeper else f"at index {i} {words}"
    return None


def _kind(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, bool | str | int | float | None) else _kind(value)

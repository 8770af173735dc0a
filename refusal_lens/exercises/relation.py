"""How wrong results are related to the right ones, where that is simple: a factor, or the axes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refusal_lens.exercises.compare import in_digits, mismatch, plain_tensor


def relation(pairs: Sequence[tuple[Any, Any]]) -> str:
    """A sentence on what holds for every (result, expected); "" where nothing simple does.

    >>> relation([(2.0, 1.0), (6.0, 3.0)])
    'In every case it is 2 times what it should be.'
    """
    if all(_transposed(value, expected) for value, expected in pairs):
        return "In every case its axes are in the wrong order."
    rows = [_numbers(value, expected) for value, expected in pairs]
    known = [row for row in rows if row is not None]
    if len(known) < len(rows) or not known:
        return ""
    factor = _factor(*(torch.cat(side) for side in zip(*known, strict=True)))
    if factor is None:
        each = [_factor(*row) for row in known]
        shown = ", ".join("" if f is None else in_digits(f) for f in each)
        return "" if None in each else f"In every case it is a multiple of the right one: {shown}."
    if abs(factor - 1) < 1e-3:
        return ""
    if abs(factor + 1) < 1e-3:
        return "In every case its sign is turned."
    return f"In every case it is {in_digits(factor)} times what it should be."


def _factor(ours: Tensor, theirs: Tensor) -> float | None:
    """By how much to multiply `theirs` to get `ours`; None if nothing does, or anything may."""
    factor = float(ours @ theirs / (theirs @ theirs).clamp(min=1e-30))
    unclear = int((theirs != 0).sum()) < 2 or abs(factor) < 1e-6
    return None if unclear or mismatch(ours, factor * theirs) else factor


def _transposed(value: Any, expected: Any) -> bool:
    both = isinstance(value, Tensor) and isinstance(expected, Tensor)
    if not both or value.is_nested or expected.ndim < 2 or value.ndim != expected.ndim:
        return False
    return mismatch(value.transpose(0, 1), expected) is None


def _numbers(value: Any, expected: Any) -> tuple[Tensor, Tensor] | None:
    """Both as rows of float64; None if they are no numbers, or not of one shape."""
    made: list[Tensor] = []
    for x in (value, expected):
        try:
            tensor = x if isinstance(x, Tensor) else torch.as_tensor(x, dtype=torch.float64)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            return None
        tensor = None if tensor.is_complex() else plain_tensor(tensor)
        if tensor is None:
            return None
        made.append(tensor.double())
    ours, theirs = made
    alike = ours.shape == theirs.shape or ours.numel() == theirs.numel() == 1
    usable = alike and bool(ours.isfinite().all() and theirs.isfinite().all())
    return (ours.flatten(), theirs.flatten()) if usable else None

"""What the stores of a run share: what a key depends on, and what goes where there is too much."""

from typing import Any, Final

from refusal_lens.model.backend import Backend
from refusal_lens.placement import dtype_name
from refusal_lens.records import installed_versions

KEY_LENGTH: Final = 32
"""Hexadecimal digits of a key: 128 bits of a SHA-256."""


def made_by(digest: str, backend: Backend) -> tuple[Any, ...]:
    """What every number of a model depends on: weights, implementation, precision, versions.

    >>> made_by(model.digest, model.backend)[2]
    'float32'
    """
    return (digest, backend.name, dtype_name(backend.dtype), installed_versions())


def newest_within(sizes: dict[str, int], most: int) -> list[str]:
    """The newest keys whose sizes come to at most so much, the oldest of them first.

    `sizes` are in the order of age.

    >>> newest_within({"old": 5, "newer": 2, "newest": 3}, 6)
    ['newer', 'newest']
    """
    newest: list[str] = []
    for key, size in reversed(sizes.items()):
        if (most := most - size) < 0:
            break
        newest.append(key)
    return newest[::-1]

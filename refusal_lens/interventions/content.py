"""What an edit does to a prompt, as a digest of its numbers: what it is called does not count."""

import hashlib
from dataclasses import fields, is_dataclass
from typing import Any, Final

from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.interventions.base import AlongOne, Part, ResidualMap
from refusal_lens.interventions.conditions import Condition
from refusal_lens.records import digest_of
from refusal_lens.sites import Site

_PLAIN: Final = (str, int, float, bool, type(None))
_OF_DIRECTION: Final = ("site", "offset", "vector", "scale", "low", "high")  # what can act
_PACKAGE: Final = "refusal_lens."


def part_digest(part: Part, n_layers: int) -> str | None:
    """SHA-256 of what a part does, and on which tokens, in a model of `n_layers` blocks.

    Two parts with one digest do the same, bit for bit, to each row on which both act: vectors,
    lengths, sites, phase, offsets and conditions are in it; rows are not, and neither is what a
    direction is called or was fitted on. None of a map that can't be told by its numbers alone: one
    that is defined outside this package, or made from something large, as a sparse autoencoder.

    >>> added, ablated = rl.Add(direction, strength=1.0), rl.Ablate(direction)
    >>> as_long = rl.Add(direction, alpha=direction.scale)
    >>> one, same, other = (part_digest(e.parts()[0], 3) for e in (added, as_long, ablated))
    >>> one == same, one == other
    (True, False)
    """
    try:
        return digest_of(
            {
                "map": _map_content(part.edit, n_layers),
                "phase": part.phase,
                "offsets": _content(part.offsets),
                "conditions": _content(part.conditions),
            }
        )
    except _UnknownError:
        return None


class _UnknownError(Exception):
    """Something that acts by more than its numbers."""


def _map_content(edit: ResidualMap, n_layers: int) -> Any:
    if isinstance(edit, AlongOne) and type(edit).__call__ is AlongOne.__call__:
        moved = [edit.removed, edit.added, edit.direction.vector]
        return [*map(_content, moved), _content(edit.sites(n_layers))]
    return _content(edit)


def _content(value: Any) -> Any:
    """The value as JSON, tensors by the digest of their bytes."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, tuple):
        return [_content(one) for one in value]
    if isinstance(value, Tensor):
        numbers = value.detach().cpu().double().contiguous().numpy()
        return [str(value.dtype), *value.shape, hashlib.sha256(numbers.tobytes()).hexdigest()]
    kind = type(value)
    if not (isinstance(value, ResidualMap | Condition | Direction | Site) and is_dataclass(value)):
        raise _UnknownError
    if not kind.__module__.startswith(_PACKAGE):
        raise _UnknownError
    names = _OF_DIRECTION if kind is Direction else [field.name for field in fields(value)]
    return [kind.__name__, *(_content(getattr(value, name)) for name in names)]

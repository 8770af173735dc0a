"""Residual streams kept from one pass to the next, for passes that begin where an edit acts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, final

from jaxtyping import Float
from torch import Tensor

from refusal_lens.model.starting import Start

StreamKey = tuple[tuple[int, ...], int]
"""All tokens of a row from its first on, and how many of the last are new in a pass."""

_MOST_BYTES: Final = 2**28


@final
class KeptStreams:
    """Streams at the input of blocks, by the tokens that led to them.

    `layers` are those at which passes without an edit keep them. What is more than `most_bytes` is
    not kept: those passes run all blocks.

    >>> import torch
    >>> streams = KeptStreams()
    >>> streams.keep(2, [((5, 6, 7), 2)], torch.ones(1, 3, 32))  # padded on the right
    >>> streams.start(2, [((5, 6, 7), 2)], 4).resid.shape
    torch.Size([1, 4, 32])
    >>> streams.has(1, [((5, 6, 7), 2)])
    False
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self.layers: set[int] = set()
        self._most, self._bytes = most_bytes, 0
        self._streams: dict[tuple[int, StreamKey], Float[Tensor, "new d_model"]] = {}

    def has(self, layer: int, keys: Sequence[StreamKey]) -> bool:
        """Whether the streams of all these rows are there."""
        return all((layer, key) in self._streams for key in keys)

    def start(self, layer: int, keys: Sequence[StreamKey], width: int) -> Start:
        """The rows' streams side by side, padded on the right with zeros.

        Nobody reads what a padded place holds: masks keep it from the others.
        """
        rows = [self._streams[layer, key] for key in keys]
        resid = rows[0].new_zeros(len(rows), width, rows[0].shape[-1])
        for row, stream in zip(resid, rows, strict=True):
            row[: len(stream)] = stream
        return Start(layer, resid)

    def keep(
        self, layer: int, keys: Sequence[StreamKey], resid: Float[Tensor, "batch pos d_model"]
    ) -> None:
        """Keep the streams of these rows, as far as there is room."""
        for key, stream in zip(keys, resid, strict=True):
            new = stream[: key[1]]
            if (layer, key) not in self._streams and self._bytes + new.nbytes <= self._most:
                self._streams[layer, key] = new.clone()
                self._bytes += new.nbytes


@final
@dataclass(frozen=True, eq=False)
class Sweep:
    """How some passes of a sweep use the streams: they begin at a layer, or keep what is there."""

    streams: KeptStreams
    layers: tuple[int, ...]
    start: bool

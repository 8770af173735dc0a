"""A forward pass that begins at a block: those below are not run, their output is given.

An edit at layer L leaves the stream below L as it is. In a sweep over edits of one layer the blocks
below it would compute the same numbers again and again.
"""

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Any, Final, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from refusal_lens.model.writers import Written

_BLOCK: Final = re.compile(r"blocks\.(\d+)\.")
_TOLERANCE: Final = 1e-4  # of the largest logit
_BEHIND: Final = ("ln_final", "norm", "unembed")  # hook points behind the last block


@final
@dataclass(frozen=True, eq=False)
class Start:
    """Where a pass begins: a block, and the stream at its input.

    >>> import torch
    >>> Start(2, torch.zeros(1, 4, 32)).layer
    2
    """

    layer: int
    resid: Float[Tensor, "batch new d_model"]


@final
class Starts:
    """At which blocks passes of a bridge may begin: at none until `try_out`."""

    def __init__(self, bridge: Any, written: Mapping[str, Written]) -> None:
        self._tried = self._allowed = False
        self._blocks = list(bridge.blocks)
        self._config = bridge.original_model.config.get_text_config()
        self._points = [(_layer(name), point) for name, point in bridge.hook_dict.items()]
        self._written = [(_layer(name), w) for name, w in written.items()]
        self._kinds: list[type] = []  # of each block's keys and values
        self._tuple = False  # whether blocks return the stream as a tuple's first

    def try_out(self, forward: Callable[..., Any], ids: Int64[Tensor, "1 pos"]) -> None:
        """Allow it if a pass that begins in the middle gives the logits of a whole one.

        Where later blocks read keys and values of earlier ones, or something else than the stream,
        it does not. No function may be on a hook point meanwhile.
        """
        if self._tried:
            return
        self._tried, layer = True, len(self._blocks) // 2
        shared = getattr(self._config, "num_kv_shared_layers", 0)
        if layer == 0 or shared:
            return
        streams: list[Tensor] = []

        def keep(block: Any, args: Any, output: Any) -> None:
            del block, args
            self._tuple = isinstance(output, tuple)
            streams.append(output[0] if self._tuple else output)

        handle = self._blocks[layer - 1].register_forward_hook(keep)
        try:
            whole = forward(ids, torch.ones_like(ids), use_cache=True)
        finally:
            handle.remove()
        self._kinds = [type(one) for one in getattr(whole.cache, "layers", [])]
        if not {*self._kinds[:layer]} <= {*self._kinds[layer:]}:
            return
        try:
            begun = forward(ids, torch.ones_like(ids), start=Start(layer, streams[0]))
        except Exception:  # whatever a family's code makes of it: its passes are run whole
            return
        gap = (whole.logits - begun.logits).abs().max()
        self._allowed = bool(gap <= _TOLERANCE * whole.logits.abs().max())

    def first(self) -> int:
        """The lowest block with a function on one of its hook points; 0 where none may begin.

        As many as there are blocks where there is no function.
        """
        if not self._allowed:
            return 0
        hooked = (layer for layer, point in self._points if point.fwd_hooks)
        written = (layer for layer, one in self._written if one.functions)
        first = min((*hooked, *written), default=len(self._blocks))
        if first >= len(self._blocks):
            return len(self._blocks)
        kinds = self._kinds
        return first if {*kinds[:first]} <= {*kinds[first:]} else 0

    @contextmanager
    def begin(self, start: Start) -> Generator[None]:
        """Let the blocks below `start.layer` pass on the stream that is given."""
        given = (start.resid,) if self._tuple else start.resid

        def forward(*args: Any, **kwargs: Any) -> Any:
            del args, kwargs
            return given

        below = self._blocks[: start.layer]
        try:
            for block in below:
                block.__dict__["forward"] = forward  # setting an attribute sets the wrapped block's
            yield
        finally:
            for block in below:
                del block.__dict__["forward"]


def _layer(name: str) -> int:
    """The block that a hook point belongs to; 0 before the blocks, beyond all of them behind."""
    block = _BLOCK.match(name)
    if block is None:
        return 10**6 if name.startswith(_BEHIND) else 0
    return int(block[1])


def lengthen(cache: Any, layer: int) -> None:
    """Give the blocks that were not run as many keys and values as the others, for their length.

    What these hold is never read: a pass that continues this cache begins at the same block.
    """
    for i in range(layer):
        like = next(x for x in cache.layers[layer:] if type(x) is type(cache.layers[i]))
        cache.layers[i] = copy(like)

"""A Hugging Face decoder with one direction projected out of the stream at every layer.

The embedding and whatever each attention and MLP block writes lose their component along the
direction, so that the stream has none at any layer: the ablation of Arditi et al. 2024, inside a
forward pass that gradients flow through.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.linalg import project_out


@final
class Ablation:
    """Hooks on a decoder that ablate a direction, in the threads that ask for it alone.

    Two threads may read the same model at the same time, one under ablation and one not. The
    direction is a constant of the forward pass: no gradient flows into it.
    """

    def __init__(self, body: torch.nn.Module) -> None:
        """``body``: the decoder without its unembedding, with ``embed_tokens`` and ``layers``."""
        self._thread = threading.local()
        decoder: Any = body
        if not (hasattr(decoder, "embed_tokens") and hasattr(decoder, "layers")):
            raise InputError(
                f"{type(body).__name__} has no embed_tokens and layers to ablate at; train a "
                "decoder of the Llama kind"
            )
        writers = [decoder.embed_tokens]
        for block in decoder.layers:
            writers += [block.self_attn, block.mlp]
        self._handles = [writer.register_forward_hook(self._without) for writer in writers]

    @contextmanager
    def of(self, direction: Float[Tensor, " d_model"] | None) -> Iterator[None]:
        """Ablate a unit direction in this thread; None ablates nothing."""
        self._thread.direction = direction
        try:
            yield
        finally:
            self._thread.direction = None

    def remove(self) -> None:
        """Take the hooks off the model."""
        for handle in self._handles:
            handle.remove()

    def _without(self, module: torch.nn.Module, args: Any, out: Any) -> Any:
        del module, args
        direction = getattr(self._thread, "direction", None)
        if direction is None:
            return out
        if isinstance(out, tuple):
            return (_off(out[0], direction), *out[1:])
        return _off(out, direction)


def _off(
    written: Float[Tensor, "*batch d_model"], direction: Float[Tensor, " d_model"]
) -> Float[Tensor, "*batch d_model"]:
    # In float32, also under autocast: in bfloat16 the remainder is visible (.07 of a norm of 39).
    with torch.autocast("cpu", enabled=False):
        return project_out(written.float(), direction)

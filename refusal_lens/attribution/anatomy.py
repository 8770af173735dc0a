"""The parts of a model that write to the residual stream, and what each of them writes.

In a pre-norm block head h adds `z_h W_O[h]` to the stream. In a post-norm block (Gemma-2, OLMo 2)
the sum over heads goes through an RMS norm first; the norm divides by one number a token, which
is read from the run, so that with this number held the map is linear again: head h adds
`gain * (z_h W_O[h]) / scale`. Nothing is approximated: the parts sum to what was added.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast, final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.model.backend import Backend
from refusal_lens.sites import Site

Kind = Literal["embedding", "head", "attention bias", "MLP", "MLP bias"]
_ATTENTION: Final = ("head", "attention bias")


@final
@dataclass(frozen=True)
class Component:
    """One part that writes to the stream; the embedding has layer -1, only heads have a head.

    A value bias belongs to its head (attention weights sum to one); "attention bias" is the
    output bias.
    """

    layer: int
    kind: Kind
    head: int | None = None

    @property
    def name(self) -> str:
        """`embedding`, `L3H2`, `L3 MLP`, `L3 attention bias`."""
        if self.kind == "embedding":
            return "embedding"
        return f"L{self.layer}H{self.head}" if self.kind == "head" else f"L{self.layer} {self.kind}"

    def writes_before(self, site: Site) -> bool:
        """Whether the stream at the site holds what this part writes."""
        if self.layer != site.layer:
            return self.layer < site.layer
        reached = {"resid_pre": (), "resid_mid": _ATTENTION}
        return site.point == "resid_post" or self.kind in reached[site.point]


@final
class Anatomy:
    """Output weights, biases and post-norms of a model's blocks, in float64 on the CPU.

    Raises:
        InputError: a block whose attention shows no heads (state-space or linear attention).
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.names = backend.hook_names()
        for layer in range(backend.n_layers):
            if self.z(layer) not in self.names:
                raise InputError(
                    f"block {layer} of {backend.name} has no attention heads ({self.z(layer)} is "
                    "not a hook point); attribution by head needs softmax attention in each block"
                )

    @staticmethod
    def z(layer: int) -> str:
        """Hook point of the heads' outputs before the output matrix."""
        return f"blocks.{layer}.attn.hook_z"

    @staticmethod
    def neurons(layer: int) -> str:
        """Hook point of the MLP's neurons, after the activation (and the gate)."""
        return f"blocks.{layer}.mlp.hook_post"

    def scale(self, layer: int, writer: Literal["attn", "mlp"]) -> str | None:
        """Hook point of the number by which the block's post-norm divides; None without one."""
        name = f"blocks.{layer}.{'ln1_post' if writer == 'attn' else 'ln2_post'}.hook_scale"
        return name if name in self.names else None

    def gain(self, layer: int, writer: Literal["attn", "mlp"]) -> Float64[Tensor, " d_model"]:
        """The post-norm's gain; ones without a post-norm.

        Read off the norm itself: its output for a vector of ones, whose root mean square is one,
        is the gain, whether the weights hold it or (Gemma) its distance from one.
        """
        ones = torch.ones(self.backend.d_model, dtype=torch.float64)
        if self.scale(layer, writer) is None:
            return ones
        norm: Any = getattr(self._block(layer), "ln1_post" if writer == "attn" else "ln2_post")
        norm = getattr(norm, "original_component", None) or norm
        weight = next(norm.parameters())
        with torch.no_grad():
            gain: Tensor = norm(ones.to(weight)[None, None])
        return gain[0, 0].cpu().double()

    def heads(self, layer: int) -> Float64[Tensor, "head d_head d_model"]:
        """W_O by head; with grouped queries too there is one for each query head."""
        return self._block(layer).attn.W_O.detach().cpu().double()

    def has_neurons(self, layer: int) -> bool:
        """Whether the MLP is dense: a mixture of experts has no neurons of its own."""
        known = 0 <= layer < self.backend.n_layers and self.neurons(layer) in self.names
        return known and hasattr(self._block(layer).mlp, "W_out")

    def mlp(self, layer: int) -> Float64[Tensor, "neuron d_model"]:
        """The MLP's output matrix."""
        return self._block(layer).mlp.W_out.detach().cpu().double()

    def bias(
        self, layer: int, writer: Literal["attn", "mlp"]
    ) -> Float64[Tensor, " d_model"] | None:
        """The output bias of attention or MLP; None where there is none or it is zero."""
        block = self._block(layer)
        try:
            bias = block.attn.b_O if writer == "attn" else block.mlp.b_out
        except AttributeError:  # a mixture of experts has no bias of its own
            return None
        if bias is None or not bool(bias.any()):
            return None
        return bias.detach().cpu().double()

    def components(self, n_layers: int | None = None) -> tuple[Component, ...]:
        """Everything that writes to the stream in the first `n_layers` blocks, in order."""
        found = [Component(-1, "embedding")]
        for layer in range(self.backend.n_layers if n_layers is None else n_layers):
            found += [Component(layer, "head", h) for h in range(self.n_heads(layer))]
            found += (
                [Component(layer, "attention bias")] if self.bias(layer, "attn") is not None else []
            )
            found.append(Component(layer, "MLP"))
            found += [Component(layer, "MLP bias")] if self.bias(layer, "mlp") is not None else []
        return tuple(found)

    def n_heads(self, layer: int) -> int:
        """Number of query heads of a block."""
        return int(self._block(layer).attn.W_O.shape[0])

    def _block(self, layer: int) -> Any:
        return cast(Any, self.backend).model.blocks[layer]


def names_of(components: Sequence[Component]) -> list[str]:
    """The names of components, for people to read."""
    return [c.name for c in components]

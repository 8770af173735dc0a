"""Components (heads, MLPs, biases) and their output weights.

In a pre-norm block head h adds `z_h W_O[h]` to the stream. In a post-norm block (Gemma-2, OLMo 2)
the sum over heads goes through an RMS norm first; the norm divides by one number a token, which
is read from the run, so that with this number fixed the map is linear again: head h adds
`gain * (z_h W_O[h]) / scale`. Nothing is approximated: the parts sum to what was added. Where a
block multiplies what its modules write (Granite), the weights here hold the factor; where it
multiplies the whole stream at its end (Gemma 4), `carried` says what is left of a write later on.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, Final, Literal, cast, final

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from refusal_lens.model.backend import Backend
from refusal_lens.sites import Site

ComponentKind = Literal["embedding", "head", "mixer", "attention bias", "MLP", "MLP bias"]
_ATTENTION: Final = ("head", "mixer", "attention bias")
# The kinds that stand in lists of writers; biases and the embedding read nothing of the prompt.
WRITERS: Final[tuple[ComponentKind, ...]] = ("head", "mixer", "MLP")


@final
@dataclass(frozen=True)
class Component:
    """One component that writes to the stream; the embedding has layer -1, only heads have a head.

    A value bias belongs to its head (attention weights sum to one); "attention bias" is the
    output bias. A "mixer" is what a block has instead of separable heads: a state space, a
    convolution, linear attention, or attention by experts, as a whole.

    >>> Component(3, "head", 2).name, Component(3, "MLP").writes_before(Site(4))
    ('L3H2', True)
    """

    layer: int
    kind: ComponentKind
    head: int | None = None

    @property
    def name(self) -> str:
        """`embedding`, `L3H2`, `L3 MLP`, `L3 attention bias`."""
        if self.kind == "embedding":
            return "embedding"
        return f"L{self.layer}H{self.head}" if self.kind == "head" else f"L{self.layer} {self.kind}"

    def writes_before(self, site: Site) -> bool:
        """Whether the stream at the site includes what this component writes."""
        if self.layer != site.layer:
            return self.layer < site.layer
        reached = {"resid_pre": (), "resid_mid": _ATTENTION}
        return site.point == "resid_post" or self.kind in reached[site.point]


@final
@dataclass(frozen=True, eq=False)
class HeadsNorm:
    """An RMS norm over the concatenated outputs of a block's heads (BitNet).

    >>> import torch
    >>> HeadsNorm(torch.ones(4, 8, dtype=torch.float64), 1e-5).gain.shape
    torch.Size([4, 8])
    """

    gain: Float64[Tensor, "head d_head"]
    eps: float


@final
class Anatomy:
    """Output weights, biases and post-norms of a model's blocks, in float64 on the CPU.

    >>> weights = Anatomy(model.backend)
    >>> weights.heads(0).shape, weights.mlp(0).shape  # head d_head d_model; neuron d_model
    (torch.Size([4, 8, 32]), torch.Size([48, 32]))
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.names = backend.hook_names()

    @staticmethod
    def z(layer: int) -> str:
        """Hook point of the heads' outputs before the output matrix."""
        return f"blocks.{layer}.attn.hook_z"

    @staticmethod
    def neurons(layer: int) -> str:
        """Hook point of the MLP's neurons, after the activation (and the gate)."""
        return f"blocks.{layer}.mlp.hook_post"

    def scale(self, layer: int, writer: Literal["attn", "mlp"]) -> str | None:
        """Hook point from which `divisor` is read; None where the block has no post-norm."""
        norm = f"blocks.{layer}.{'ln1_post' if writer == 'attn' else 'ln2_post'}"
        names = (f"{norm}.hook_scale", f"{norm}.hook_in")
        return next((name for name in names if name in self.names), None)

    def divisor(
        self, layer: int, writer: Literal["attn", "mlp"], seen: Float[Tensor, "*batch width"]
    ) -> Float64[Tensor, " *batch"]:
        """The number by which the post-norm divides, from what `scale`'s hook point shows.

        Where TransformerLens shows no scale, the norm's input is read: its root mean square.
        """
        x = seen.double()
        if (self.scale(layer, writer) or "").endswith("hook_scale"):
            return x[..., 0]
        norm = self._post_norm(layer, writer)
        eps: Any = getattr(norm, "eps", None) or getattr(norm, "variance_epsilon", 0.0)
        return (x.square().mean(-1) + float(eps)).sqrt()

    def _post_norm(self, layer: int, writer: Literal["attn", "mlp"]) -> Any:
        norm: Any = getattr(self._block(layer), "ln1_post" if writer == "attn" else "ln2_post")
        return getattr(norm, "original_component", None) or norm

    def gain(self, layer: int, writer: Literal["attn", "mlp"]) -> Float64[Tensor, " d_model"]:
        """The post-norm's gain; without a post-norm, the factor on what is written (mostly ones).

        Read off the norm itself: its output for a vector of ones, whose root mean square is one,
        is the gain, whether the weights hold it or (Gemma) its distance from one.
        """
        ones = torch.ones(self.backend.d_model, dtype=torch.float64)
        if self.scale(layer, writer) is None:
            return ones * self.factor(layer)
        norm = self._post_norm(layer, writer)
        weight = next(norm.parameters())
        with torch.no_grad():
            gain: Tensor = norm(ones.to(weight)[None, None])
        return gain[0, 0].cpu().double()

    def factor(self, layer: int) -> float:
        """The number by which the block multiplies what attention and MLP write; mostly 1."""
        return float(getattr(self._block(layer), "residual_contribution_scale", 1.0))

    def carried(self, component: Component, site: Site) -> float:
        """The number by which what a component writes has been multiplied at a later site."""
        ends = range(max(component.layer, 0), site.layer + (site.point == "resid_post"))
        return prod((self.backend.scales[n] for n in ends), start=1.0)

    def heads(self, layer: int) -> Float64[Tensor, "head d_head d_model"]:
        """W_O by head; with grouped queries too there is one for each query head."""
        attention = self._block(layer).attn
        try:
            weight = attention.W_O
        except ValueError:  # heads of this layer have another size than most (Gemma 4)
            weight = attention.o.weight.T.reshape(self.n_heads(layer), -1, self.backend.d_model)
        return weight.detach().cpu().double()

    @staticmethod
    def gate(layer: int) -> str:
        """Hook point of what gates the heads' outputs, before its sigmoid; few models have it."""
        return f"blocks.{layer}.attn.hook_q_gate"

    def values(self, layer: int) -> str | None:
        """Hook point of the values that a layer's heads read, normed where they are (Gemma 4).

        None where a layer reads those of another one.
        """
        names = (f"blocks.{layer}.attn.v_norm.hook_out", f"blocks.{layer}.attn.hook_v")
        return next((name for name in names if name in self.names), None)

    def value_by_head(self, layer: int) -> bool:
        """Whether TransformerLens shows values as [head, pos]: latent attention (DeepSeek)."""
        return f"blocks.{layer}.attn.hook_kv_latent" in self.names

    def heads_norm(self, layer: int) -> HeadsNorm | None:
        """The norm over the outputs of all heads before the output matrix (BitNet), if any."""
        original: Any = getattr(self._block(layer), "original_component", None)
        norm: Any = getattr(getattr(original, "self_attn", None), "attn_sub_norm", None)
        if norm is None:
            return None
        norm = getattr(norm, "original_component", None) or norm
        gain = norm.weight.detach().cpu().double().reshape(self.n_heads(layer), -1)
        return HeadsNorm(gain, float(norm.variance_epsilon))

    def has_neurons(self, layer: int) -> bool:
        """Whether the MLP is dense: a mixture of experts has no neurons of its own."""
        known = 0 <= layer < self.backend.n_layers and self.neurons(layer) in self.names
        original = getattr(self._block(layer), "original_component", None) if known else None
        if not known or hasattr(
            original, "experts"
        ):  # beside a dense MLP, under one norm (Gemma 4)
            return False
        return hasattr(self._block(layer).mlp, "W_out")

    def mlp(self, layer: int) -> Float64[Tensor, "neuron d_model"]:
        """The MLP's output matrix."""
        return self._block(layer).mlp.W_out.detach().cpu().double()

    def bias(
        self, layer: int, writer: Literal["attn", "mlp"]
    ) -> Float64[Tensor, " d_model"] | None:
        """The output bias of attention or MLP; None where there is none or it is zero."""
        block = self._block(layer)
        if writer == "attn" and not self.n_heads(layer):
            return None
        try:
            bias = block.attn.b_O if writer == "attn" else block.mlp.b_out
        except AttributeError:  # a mixture of experts has no bias of its own
            return None
        if bias is None or not bool(bias.any()):
            return None
        return bias.detach().cpu().double()

    def components(self, n_layers: int | None = None) -> tuple[Component, ...]:
        """Everything that writes to the stream in the first `n_layers` blocks, in order."""
        components = [Component(-1, "embedding")]
        for layer in range(self.backend.n_layers if n_layers is None else n_layers):
            components += [Component(layer, "head", h) for h in range(self.n_heads(layer))]
            components += [] if self.n_heads(layer) else [Component(layer, "mixer")]
            components += (
                [Component(layer, "attention bias")] if self.bias(layer, "attn") is not None else []
            )
            if Site(layer, "mlp_out").hook_name in self.names:
                components.append(Component(layer, "MLP"))
            if self.bias(layer, "mlp") is not None:
                components.append(Component(layer, "MLP bias"))
        return tuple(components)

    def n_heads(self, layer: int) -> int:
        """Number of query heads of a block; 0 where its mixer of tokens has no separate ones."""
        name = Site(layer, "attn_out").hook_name
        if self.z(layer) not in self.names or name in self.backend.joint:
            return 0
        return int(cast(Any, self.backend).model.cfg.n_heads)

    def _block(self, layer: int) -> Any:
        return cast(Any, self.backend).model.blocks[layer]

"""The activation functions of sparse autoencoders: what makes latents of pre-activations."""

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError


@runtime_checkable
class Activation(Protocol):
    """Makes latents, zero or more, of x W_enc; the encoder's biases belong to it."""

    @property
    def name(self) -> str:
        """SAELens' name of the architecture."""
        ...

    def __call__(self, pre: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """The latents of pre-activations without bias."""
        ...


@final
@dataclass(frozen=True, eq=False)
class Standard:
    """max(0, pre + b).

    >>> Standard(torch.tensor([1.0, -1.0]))(torch.tensor([0.5, 0.5])).tolist()
    [1.5, 0.0]
    """

    bias: Float[Tensor, " latent"]

    @property
    def name(self) -> str:
        """See `Activation`."""
        return "standard"

    def __call__(self, pre: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """See `Activation`."""
        return (pre + self.bias.to(pre)).relu()


@final
@dataclass(frozen=True, eq=False)
class JumpReLU:
    """pre + b where that exceeds the latent's threshold (and zero), else 0. Rajamanoharan et al.
    2024, arXiv 2407.14435.

    >>> one = JumpReLU(torch.zeros(2), threshold=torch.tensor([1.0, 2.0]))
    >>> one(torch.tensor([1.5, 1.5])).tolist()
    [1.5, 0.0]
    """

    bias: Float[Tensor, " latent"]
    threshold: Float[Tensor, " latent"]

    @property
    def name(self) -> str:
        """See `Activation`."""
        return "jumprelu"

    def __call__(self, pre: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """See `Activation`."""
        biased = pre + self.bias.to(pre)
        return biased.relu() * (biased > self.threshold.to(pre))


@final
@dataclass(frozen=True, eq=False)
class TopK:
    """The k largest of pre + b per token, where they are positive; all others 0. Gao et al. 2024,
    arXiv 2406.04093.

    >>> TopK(torch.zeros(3), k=1)(torch.tensor([1.0, 3.0, 2.0])).tolist()
    [0.0, 3.0, 0.0]

    Raises:
        InputError: k is below 1 or above the number of latents.
    """

    bias: Float[Tensor, " latent"]
    k: int

    def __post_init__(self) -> None:
        if not 1 <= self.k <= len(self.bias):
            raise InputError(f"k is {self.k} of a top-k SAE with {len(self.bias)} latents")

    @property
    def name(self) -> str:
        """See `Activation`."""
        return "topk"

    def __call__(self, pre: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """See `Activation`."""
        values, places = (pre + self.bias.to(pre)).topk(self.k, dim=-1)
        return torch.zeros_like(pre).scatter(-1, places, values.relu())


@final
@dataclass(frozen=True, eq=False)
class Gated:
    """max(0, pre exp(r_mag) + b_mag) where pre + b_gate > 0, else 0. Rajamanoharan et al. 2024,
    arXiv 2404.16014.

    >>> gate = torch.tensor([0.0, -1.0])
    >>> Gated(gate, r_mag=torch.zeros(2), b_mag=torch.ones(2))(torch.tensor([0.5, 0.5])).tolist()
    [1.5, 0.0]
    """

    b_gate: Float[Tensor, " latent"]
    r_mag: Float[Tensor, " latent"]
    b_mag: Float[Tensor, " latent"]

    @property
    def name(self) -> str:
        """See `Activation`."""
        return "gated"

    def __call__(self, pre: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch latent"]:
        """See `Activation`."""
        gate = pre + self.b_gate.to(pre) > 0
        return (pre * self.r_mag.exp().to(pre) + self.b_mag.to(pre)).relu() * gate

"""A sparse autoencoder of the residual stream: latents, their parts of the stream, and the rest."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, final, get_args

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.linalg import fingerprint
from refusal_lens.records import digest_of
from refusal_lens.sites import Site
from refusal_lens.sparse.activations import Activation

Normalisation = Literal["none", "layer_norm", "constant_norm_rescale"]
NORMALISATIONS: Final[tuple[str, ...]] = get_args(Normalisation)

_EPSILON: Final = 1e-5
"""SAELens' own, added to the standard deviation of `layer_norm`."""
_COMPUTES: Final = ("w_enc", "w_dec", "b_dec", "subtract_b_dec", "normalisation")
"""What it computes with, besides its activation function."""


@final
@dataclass(frozen=True, eq=False)
class SparseAutoencoder:
    """Latents z = activation(n(x) W_enc) of a residual x, and the reconstruction of x from them.

    The reconstruction is n^-1(z W_dec + b_dec). n is the normalisation: "none", "layer_norm"
    (per token, less the mean and divided by the sample standard deviation), or
    "constant_norm_rescale" (per token to the length sqrt(d_model)); with `subtract_b_dec` b_dec
    goes from the normalised input, too. What the reconstruction leaves out is the error.

    `site` is the hook point whose vectors it was trained on. Read from a folder by `load_sae`.

    >>> sae.encode(torch.zeros(2, sae.d_model)).shape == (2, sae.n_latents)
    True
    """

    site: Site
    w_enc: Float[Tensor, "d_model latent"]
    activation: Activation
    w_dec: Float[Tensor, "latent d_model"]
    b_dec: Float[Tensor, " d_model"]
    subtract_b_dec: bool = True
    normalisation: Normalisation = "none"
    model_name: str = ""

    def __post_init__(self) -> None:
        if self.normalisation not in NORMALISATIONS:
            raise InputError(
                f"normalisation {self.normalisation!r} is unknown; use one of {[*NORMALISATIONS]}"
            )

    @property
    def d_model(self) -> int:
        """Width of the vectors that it reads and writes."""
        return self.w_dec.shape[1]

    @property
    def n_latents(self) -> int:
        """Number of latents."""
        return self.w_dec.shape[0]

    @property
    def name(self) -> str:
        """Its kind, size, place and a digest of all that its latents and reconstructions depend on:
        two that compute other things have two names."""
        mark = self._content_digest[:8]
        return f"{self.activation.name} SAE of {self.n_latents} latents at {self.site} ({mark})"

    @cached_property
    def _content_digest(self) -> str:
        values = vars(self.activation) | {n: getattr(self, n) for n in _COMPUTES}
        return digest_of(
            {
                name: fingerprint(value.flatten()) if isinstance(value, Tensor) else repr(value)
                for name, value in values.items()
            }
        )

    def __repr__(self) -> str:
        return self.name

    def encode(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch latent"]:
        """The latents of each vector, zero or more.

        >>> import torch
        >>> sae.encode(torch.randn(2, sae.d_model)).shape
        torch.Size([2, 64])
        """
        normal = self._normalised(resid)[0]
        if self.subtract_b_dec:
            normal = normal - self.b_dec.to(normal)
        return self.activation(normal @ self.w_enc.to(normal))

    def reconstruct(
        self, resid: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch d_model"]:
        """What the latents of each vector make of it; the error is the vector less this.

        >>> import torch
        >>> sae.reconstruct(torch.randn(2, sae.d_model)).shape
        torch.Size([2, 32])
        """
        _, scale, shift = self._normalised(resid)
        latents = self.encode(resid)
        made = latents @ self.w_dec.to(latents) + self.b_dec.to(latents)
        return (made * scale + shift).to(resid)

    def contribution(
        self, resid: Float[Tensor, "*batch d_model"], latents: Int64[Tensor, " chosen"]
    ) -> Float[Tensor, "*batch d_model"]:
        """The part of each reconstruction that these latents make: it goes if they are zeroed.

        A vector less this is its reconstruction without the latents plus its error, unchanged.

        >>> import torch
        >>> sae.contribution(torch.randn(2, sae.d_model), torch.tensor([3, 5])).shape
        torch.Size([2, 32])
        """
        _, scale, _ = self._normalised(resid)
        chosen = latents.to(resid.device)
        active = self.encode(resid)[..., chosen]
        return ((active @ self.w_dec.to(active)[chosen]) * scale).to(resid)

    def _normalised(self, resid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The normalised vectors, and by what their reconstruction is multiplied and shifted."""
        x = resid.float()
        one, zero = torch.ones_like(x[..., :1]), torch.zeros_like(x[..., :1])
        if self.normalisation == "layer_norm":
            mean = x.mean(-1, keepdim=True)
            deviation = x.std(-1, keepdim=True)
            return (x - mean) / (deviation + _EPSILON), deviation, mean
        if self.normalisation == "constant_norm_rescale":
            scale = x.norm(dim=-1, keepdim=True) / self.d_model**0.5
            return x / scale, scale, zero
        return x, one, zero

"""Ablation of latents of a sparse autoencoder, its error kept; and its reconstruction alone."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from refusal_lens.arguments import one, several
from refusal_lens.errors import InputError
from refusal_lens.interventions.base import ResidualMap
from refusal_lens.sites import Site


@runtime_checkable
class Dictionary(Protocol):
    """What takes a vector apart into latents: `refusal_lens.sparse.SparseAutoencoder`.

    >>> isinstance(sae, Dictionary)
    True
    """

    @property
    def site(self) -> Site:
        """The hook point whose vectors it was trained on."""
        ...

    @property
    def name(self) -> str:
        """Which one it is, in words."""
        ...

    @property
    def d_model(self) -> int:
        """Width of the vectors."""
        ...

    @property
    def n_latents(self) -> int:
        """Number of latents."""
        ...

    def contribution(
        self, resid: Float[Tensor, "*batch d_model"], latents: Int64[Tensor, " chosen"]
    ) -> Float[Tensor, "*batch d_model"]:
        """The part of each reconstruction that these latents make."""
        ...

    def reconstruct(
        self, resid: Float[Tensor, "*batch d_model"]
    ) -> Float[Tensor, "*batch d_model"]:
        """Each vector as its latents give it."""
        ...


class _OfDictionary(ResidualMap):
    """An edit made with a sparse autoencoder, at its site, of vectors up to a length."""

    sae: Dictionary
    longest: float

    def __post_init__(self) -> None:
        name = type(self).__name__
        one(self.sae, Dictionary, what=f"the autoencoder of {name}", write="load_sae(folder)")

    @property
    def repeatable(self) -> bool:
        """What was edited is encoded by other latents: twice is not once."""
        return False

    @property
    def width(self) -> int:
        """That of the autoencoder."""
        return self.sae.d_model

    def sites(self, n_layers: int) -> tuple[Site, ...]:
        """The site of the autoencoder."""
        del n_layers
        return (self.sae.site,)

    def __call__(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        edited = self._edited(resid)
        if math.isinf(self.longest):
            return edited
        return torch.where(resid.float().norm(dim=-1, keepdim=True) <= self.longest, edited, resid)

    @abstractmethod
    def _edited(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """The edited vectors, however long they are."""

    def _named(self, what: str) -> str:
        limit = "" if math.isinf(self.longest) else f", vectors up to length {self.longest:.4g}"
        return f"{type(self).__name__}({what}{limit})"


@final
@dataclass(frozen=True, eq=False)
class AblateLatents(_OfDictionary):
    """Zero latents of a sparse autoencoder: x less what these latents contribute to it.

    Equal to encoding x, zeroing the latents, decoding, and adding back the error x - decode(encode
    (x)): whatever the autoencoder does not see stays in the stream, bit for bit but for rounding.
    It acts at the site of the autoencoder alone; other latents, and later layers, may write the
    same again. Vectors longer than `longest` are left as they are: in most models the first token's
    is many times as long as any other, and autoencoders are not trained on it.

    >>> edit = rl.AblateLatents(sae, (3, 5))
    >>> x = torch.randn(4, sae.d_model)
    >>> torch.equal(edit(x), x - sae.contribution(x, torch.tensor([3, 5])))
    True

    Raises:
        InputError: no latent, one that there is not, or one named twice.
    """

    sae: Dictionary
    latents: tuple[int, ...]
    longest: float = math.inf

    def __post_init__(self) -> None:
        super().__post_init__()
        several(self.latents, int, what="latent", write="AblateLatents(sae, (3, 5))")
        if not self.latents:
            raise InputError("AblateLatents takes at least one latent, got none")
        if len(set(self.latents)) < len(self.latents):
            raise InputError(f"AblateLatents names a latent twice: {list(self.latents)}")
        wrong = [i for i in self.latents if not 0 <= i < self.sae.n_latents]
        if wrong:
            raise InputError(
                f"latent {wrong[0]} is not in {self.sae.name}: 0 to {self.sae.n_latents - 1}"
            )

    def _edited(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return resid - self.sae.contribution(resid, torch.tensor(self.latents))

    def __repr__(self) -> str:
        few = ", ".join(map(str, self.latents[:12])) + (", ..." if len(self.latents) > 12 else "")
        return self._named(f"{len(self.latents)} latents ({few}) of {self.sae.name}")


@final
@dataclass(frozen=True, eq=False)
class Reconstruct(_OfDictionary):
    """Every vector as a sparse autoencoder gives it back, without its error.

    How much of the model's work the autoencoder keeps; as a control it says what taking the error
    away does by itself. `longest` as in `AblateLatents`.

    >>> x = torch.randn(4, sae.d_model)
    >>> torch.equal(rl.interventions.Reconstruct(sae)(x), sae.reconstruct(x))
    True
    """

    sae: Dictionary
    longest: float = math.inf

    def _edited(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return self.sae.reconstruct(resid)

    def __repr__(self) -> str:
        return self._named(self.sae.name)

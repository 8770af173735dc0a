"""Features of a probe: residuals standardised over environments, then principal components."""

from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float64
from scipy.linalg import eigh
from torch import Tensor

from refusal_lens.directions.invariance.environments import EnvironmentData

_ROUNDING: Final = 1e-6  # of the mean: float32 resolves no smaller spread


@final
@dataclass(frozen=True, eq=False)
class FeatureBasis:
    """z = axes' (x - centre) / spread, with the mean and standard deviation of the training data.

    Each environment and side weighs the same in all three.
    """

    centre: Float64[Tensor, " d_model"]
    spread: Float64[Tensor, " d_model"]
    axes: Float64[Tensor, "d_model component"]

    @classmethod
    def of(cls, data: EnvironmentData, components: int) -> "FeatureBasis":
        """The leading components of the standardised data, at most as many as they have.

        Where d_model exceeds the number of prompts a probe on all of it separates them perfectly,
        all gradients vanish, and the invariance penalty is empty.
        """
        weights = data.weights()[:, None]
        centre = (weights * data.x).sum(0)
        spread = (weights * (data.x - centre).square()).sum(0).sqrt()
        constant = spread <= _ROUNDING * centre.abs()  # dividing by it would blow up rounding
        spread = torch.where(constant, 1.0, spread)
        scaled = weights.sqrt() * (data.x - centre) / spread
        n, d = scaled.shape
        tall = n > d
        gram = (scaled.mT @ scaled if tall else scaled @ scaled.mT).numpy()
        first = max(0, len(gram) - components)
        values, vectors = eigh(gram, subset_by_index=(first, len(gram) - 1))
        real = values > 1e-10 * values[-1]  # the centred data have at most n - 1
        vectors = torch.from_numpy(vectors[:, real][:, ::-1].copy())
        if not tall:
            vectors = scaled.mT @ vectors
        axes = vectors / vectors.norm(dim=0)
        largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
        return cls(centre, spread, axes * largest.sign())

    def __call__(
        self, x: Float64[Tensor, "prompt d_model"]
    ) -> Float64[Tensor, "prompt component_and_one"]:
        """The features of prompts, and a 1 for the offset of the logit."""
        z = ((x - self.centre) / self.spread) @ self.axes
        return torch.cat([z, torch.ones(len(z), 1, dtype=z.dtype)], dim=1)

    def back(
        self, w: Float64[Tensor, "*probe component_and_one"]
    ) -> Float64[Tensor, "*probe d_model"]:
        """w_raw = V w / sigma: the same probe as a vector of the stream."""
        return (w[..., :-1] @ self.axes.mT) / self.spread

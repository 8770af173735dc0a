"""Coordinates of every language's prompts along every language's direction, cross-fitted by pair.

Folds of pairs are the same in every language. A direction that a fold's prompts are read with is
fitted on the other folds alone, in any language, so that neither a prompt nor its translation has
helped to fit it. Everything follows from the products

    P[a, i, b, j, s] = d_ai . x_bjs

of pair i's difference in language a with pair j's prompt on side s in language b, under weights of
the pairs: ones for the estimate, a zero for the jackknife, signs for shuffled labels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from refusal_lens.languages.parallel import Parallel

ALL: Final = "all languages"


@final
@dataclass(frozen=True, eq=False)
class Fold:
    """One fold's prompts under each draw of weights: coordinates, and what they are compared with.

    `score` is along each direction; `centre` the mean coordinate, along each direction, of each
    language's fitting prompts; `tested` says which of the fold's pairs a draw tests on.
    """

    score: Float64[Tensor, "draw direction language pair side"]
    centre: Float64[Tensor, "draw direction language"]
    tested: Bool[Tensor, "draw pair"]


@final
@dataclass(frozen=True, eq=False)
class CrossFit:
    """The products of parallel residuals; rows of directions are the languages, then all of them.

    The direction of all languages is the mean of their differences.
    """

    rows: tuple[str, ...]
    languages: tuple[str, ...]
    folds: tuple[Int64[Tensor, " _"], ...]
    products: Float64[Tensor, "direction fitted language pair side"]

    @classmethod
    def of(cls, parallel: Parallel) -> "CrossFit":
        """The products of parallel residuals."""
        d = parallel.difference
        products = torch.einsum("aid,bjsd->aibjs", d, parallel.x)
        every = products.mean(0, keepdim=True)
        rows = (*parallel.languages, ALL)
        return cls(rows, parallel.languages, parallel.folds, torch.cat([products, every]))

    @property
    def n(self) -> int:
        """Number of pairs."""
        return self.products.shape[1]

    def leave_one_out(self) -> Float64[Tensor, "draw pair"]:
        """Weights of the estimate, then of the pairs without each of them."""
        eye = torch.eye(self.n, dtype=torch.float64)
        return torch.cat([torch.ones(1, self.n, dtype=torch.float64), 1.0 - eye])

    def each_fold(
        self,
        weights: Float64[Tensor, "draw pair"],
        signs: Float64[Tensor, "draw pair"] | None = None,
    ) -> Iterator[Fold]:
        """Each fold's coordinates; a pair of weight 0 neither fits nor tests.

        `signs` shuffle labels: a pair of sign -1 has its sides exchanged in every language, both
        where it fits and where it tests. True labels would be separated by what a direction of
        exchanged ones keeps of the true one: the mean of its signs times it.
        """
        for fold in self.folds:
            fits = weights.clone()
            fits[:, fold] = 0.0
            signed = fits if signs is None else fits * signs
            coordinate = torch.einsum("mi,aibjs->mabjs", signed, self.products)
            coordinate = coordinate / fits.sum(1)[:, None, None, None, None]
            sides = torch.einsum("mj,mabjs->mab", fits, coordinate)
            centre = sides / (2 * fits.sum(1))[:, None, None]
            score = coordinate[:, :, :, fold]
            if signs is not None:
                turned = (signs[:, fold] < 0)[:, None, None, :, None]
                score = torch.where(turned, score.flip(-1), score)
            yield Fold(score, centre, weights[:, fold] > 0)

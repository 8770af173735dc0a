"""A covariance with shrinkage, by the axes that its rows span; the shrinkage by leaving out pairs.

Sigma(g) = (1 - g) S + g tr(S) / d I. There are no more axes with spread than prompts; in all other
directions Sigma is g tr(S) / d.
"""

from dataclasses import dataclass
from typing import Final, final

import torch
from jaxtyping import Float64
from torch import Tensor

from refusal_lens.directions.by_place import cell_counts
from refusal_lens.directions.held_out import folds_of, smooth_minimum
from refusal_lens.linalg import row_space
from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.sums import Sides

_STEPS: Final = torch.linspace(-4.0, 4.0, 33, dtype=torch.float64)  # log10 of g / (1 - g)


@final
@dataclass(frozen=True, eq=False)
class Shrunk:
    """S by its axes and eigenvalues, to be shrunk by any g."""

    values: Float64[Tensor, " rank"]
    axes: Float64[Tensor, "d_model rank"]
    mean_value: float

    @classmethod
    def of(cls, rows: Float64[Tensor, "prompt d_model"]) -> "Shrunk":
        """From rows with S = rows^T rows."""
        values, axes = row_space(rows)
        return cls(values, axes, float(rows.square().sum()) / rows.shape[1])

    def solve(self, vector: Float64[Tensor, " d_model"], g: float) -> Float64[Tensor, " d_model"]:
        """Sigma(g)^-1 times a vector; the vector itself where the rows have no spread."""
        if len(self.values) == 0:
            return vector
        outside, inside = self.inverse(g)
        return vector * outside + self.axes @ (inside * (vector @ self.axes))

    def inverse(self, g: float) -> tuple[float, Float64[Tensor, " rank"]]:
        """Sigma(g)^-1 off the axes, and what is added to that on each of them."""
        ridge = g * self.mean_value
        outside = 1 / ridge if len(self.values) < len(self.axes) else 0.0
        return outside, 1 / ((1 - g) * self.values + ridge) - outside


@final
@dataclass(frozen=True, eq=False)
class LeftOut:
    """Held-out scores of a whitened mean difference, which follow from the fit on all prompts.

    All that leaving out a pair changes is a combination of four vectors: (r, s, delta, mean delta),
    the refuse and the comply prompt, each minus the mean of its side (zero where there is none),
    the difference of means of their category, and the mean of all categories' differences.
    `gram` and `coordinates` are those of the four, `rule` the combination that is the difference
    to whiten, and `at` those to be scored; `removed` are the weights of the two in S.
    """

    gram: Float64[Tensor, "fold 4 4"]
    coordinates: Float64[Tensor, "fold 4 rank"]
    rule: Float64[Tensor, "fold 4 1"]
    at: Float64[Tensor, "fold 2 4"]
    removed: Float64[Tensor, "fold 2"]
    share: Float64[Tensor, "fold 2"]

    @classmethod
    def of(
        cls,
        rows: Float64[Tensor, "prompt d_model"],
        means: Float64[Tensor, "category label d_model"],
        sides: Sides,
        shrunk: Shrunk,
    ) -> "LeftOut":
        """From prompts minus the mean of their side, and these means."""
        folds = folds_of(sides)
        present = (folds >= 0).double()
        category = sides.category[folds.amax(1)]
        n = cell_counts(sides)[category]
        difference = means[:, REFUSE] - means[:, COMPLY]
        both = torch.stack([difference[category], difference.mean(0).expand(len(folds), -1)], 1)
        vectors = torch.cat([rows[folds] * present[..., None], both], 1)
        step = present / (n - 1)  # the mean of a side moves by minus this times r
        sign = torch.tensor([1.0, -1.0], dtype=torch.float64)
        last = torch.tensor([0.0, 1.0], dtype=torch.float64).expand(len(folds), 2)
        ends = torch.tensor([[1, 0, 0.5, 0], [0, 1, -0.5, 0]], dtype=torch.float64)
        return cls(
            gram=vectors @ vectors.mT,
            coordinates=vectors @ shrunk.axes,
            rule=torch.cat([-sign * step / len(means), last], 1)[..., None],
            at=ends + torch.cat([step / 2, 0 * step], 1)[:, None],
            removed=step * n / (len(means) * n.sum(1, keepdim=True)),
            share=present / (len(means) * n),
        )

    def scores(self, shrunk: Shrunk, g: float) -> Float64[Tensor, "fold 2"]:
        """w . (x - middle) of each prompt, w and the middle of its category from all other pairs.

        Without a pair Sigma is Sigma minus (1 - g) (r, s) diag(removed) (r, s)^T, at the weights
        and the ridge of all prompts; its inverse is Woodbury's.
        """
        outside, inside = shrunk.inverse(g)
        whitened = self.gram * outside + (self.coordinates * inside) @ self.coordinates.mT
        root = ((1 - g) * self.removed).sqrt()[:, None]
        left = whitened[:, :, :2] * root
        inner = torch.eye(2, dtype=root.dtype) - left[:, :2] * root.mT
        whitened = whitened + left @ torch.linalg.solve(inner, left.mT)
        return (self.at @ whitened @ self.rule).squeeze(-1)

    def separation(self, shrunk: Shrunk, g: float) -> float:
        """Fisher's criterion: gap of the sides' mean scores by their root mean variance."""
        scores = self.scores(shrunk, g)
        mean = (self.share * scores).sum(0)
        variance = (self.share * (scores - mean).square()).sum(0).mean()
        return float((mean[REFUSE] - mean[COMPLY]) / variance.clamp(min=1e-300).sqrt())


def chosen_shrinkage(
    rows: Float64[Tensor, "prompt d_model"],
    means: Float64[Tensor, "category label d_model"],
    sides: Sides,
    shrunk: Shrunk,
) -> float:
    """The g of the best separation of held-out pairs; 1 where a side has fewer than two prompts."""
    if len(shrunk.values) == 0 or float(cell_counts(sides).min()) < 2:
        return 1.0
    left_out = LeftOut.of(rows, means, sides, shrunk)
    shares = torch.sigmoid(_STEPS * torch.tensor(10.0).log())
    loss = torch.tensor([-left_out.separation(shrunk, float(g)) for g in shares]).double()
    return float(torch.sigmoid(torch.tensor(10.0).log() * smooth_minimum(_STEPS, loss)))

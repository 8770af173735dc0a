"""Choosing a penalty by leaving out pairs: the rows of each fold, and the least loss."""

import torch
from jaxtyping import Float64, Int64
from torch import Tensor

from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.sums import Sides


def folds_of(sides: Sides) -> Int64[Tensor, "fold 2"]:
    """Rows (refuse, comply) that are left out together: those of each pair; -1 where there is none.

    A prompt without a pair is left out alone.

    >>> label = torch.tensor([0, 1, 1])
    >>> folds_of(Sides(torch.zeros(3, dtype=torch.int64), label, torch.tensor([[0, 1]])))
    tensor([[ 0,  1],
            [-1,  2]])
    """
    alone = torch.ones(len(sides.label), dtype=torch.bool)
    alone[sides.pairs.flatten()] = False
    parts = [sides.pairs]
    for side in (REFUSE, COMPLY):
        rows = (alone & (sides.label == side)).nonzero()
        other = torch.full_like(rows, -1)
        parts.append(torch.cat([rows, other] if side == REFUSE else [other, rows], 1))
    return torch.cat(parts)


def smooth_minimum(grid: Float64[Tensor, " step"], loss: Float64[Tensor, " step"]) -> float:
    """Where the loss over an evenly spaced grid is least, between its points.

    The vertex of the parabola through the lowest point and its neighbours. It moves smoothly with
    the loss, also from one grid point to the next, as a jackknife needs; it jumps only from one of
    two minima that are equally low to the other.

    >>> grid = torch.linspace(0, 5, 6).double()
    >>> round(smooth_minimum(grid, (grid - 2.2) ** 2), 6)
    2.2
    """
    k = int(loss.argmin())
    if k in (0, len(grid) - 1):
        return float(grid[k])
    before, least, after = loss[k - 1 : k + 2].tolist()
    curvature = before - 2 * least + after
    shift = (before - after) / (2 * curvature) if curvature > 0 else 0.0
    return float(grid[k]) + shift * float(grid[1] - grid[0])

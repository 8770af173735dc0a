"""L2-penalised logistic regression of the label, with C chosen by leaving out pairs.

The stream is centred at the middle of the two sides' means of its category, so that topics do not
enter, and divided by the root mean squared distance of prompts from the mean of their side, so that
C means the same at every site. Each side of each category weighs the same. scikit-learn fits it in
the space that the prompts span, which is exact for an L2 penalty: no component of the weights off
that space lowers the loss.
"""

from dataclasses import dataclass
from math import inf
from typing import Final, final

import torch
from jaxtyping import Float64, Int64
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from refusal_lens.directions.by_place import cell_counts, cell_means
from refusal_lens.directions.held_out import folds_of, smooth_minimum
from refusal_lens.errors import InputError
from refusal_lens.prompts import REFUSE
from refusal_lens.sums import Sides

_STEPS: Final = torch.arange(-1.5, 5.0, 1.5, dtype=torch.float64)  # log10 of C
_TOLERANCE: Final = 1e-9  # of the gradient of the mean loss
_ROUGH: Final = 1e-5  # the same while C is being chosen
_MOST: Final = 500  # Newton steps


@final
@dataclass(frozen=True, eq=False)
class Task:
    """Prompts to tell apart: features, which are 1 for refuse, weights of mean 1.

    `features` are coordinates along the columns of `basis` in units of `spread`; `basis` is None
    where they are those of the stream itself.
    """

    features: Float64[Tensor, "prompt rank"]
    refuse: Float64[Tensor, " prompt"]
    weight: Float64[Tensor, " prompt"]
    folds: Int64[Tensor, "fold 2"]
    spread: float
    basis: Float64[Tensor, "d_model rank"] | None

    @classmethod
    def of(cls, x: Float64[Tensor, "prompt d_model"], sides: Sides) -> "Task":
        """From the residuals at one place."""
        n = cell_counts(sides)[sides.category, sides.label]
        means = cell_means(x, sides)
        weight = len(n) / (2 * len(means) * n)
        squares = (x - means[sides.category, sides.label]).square().sum(1)
        spread = float((weight * squares).mean().sqrt()) or 1.0
        features, basis = (x - means.mean(1)[sides.category]) / spread, None
        if len(x) <= x.shape[1]:
            basis, triangle = torch.linalg.qr(features.mT)
            features = triangle.mT
        return cls(
            features=features,
            refuse=(sides.label == REFUSE).double(),
            weight=weight,
            folds=folds_of(sides),
            spread=spread,
            basis=basis,
        )

    def in_stream(self, weights: Float64[Tensor, " rank"]) -> Float64[Tensor, " d_model"]:
        """Weights of the features as weights of the stream."""
        return weights if self.basis is None else self.basis @ weights


def checked_C(C: float | None) -> float | None:
    """`C` itself, where it is None or a number above 0.

    Raises:
        InputError: it is not.
    """
    if C is not None and not 0 < C < inf:
        raise InputError(f"C {C!r}; expected a finite number above 0, or None to choose")
    return C


def probe_weights(task: Task, C: float | None = None) -> Float64[Tensor, " rank"]:
    """Weights of the features at `C`, by default at that of the least held-out loss."""
    solver = new_solver()
    chosen = _chosen_C(solver, task) if C is None else C
    return fitted(solver, task, chosen, _TOLERANCE)[0]


def _chosen_C(solver: LogisticRegression, task: Task) -> float:
    """C grows from the least of the grid until the held-out loss no longer falls."""
    loss: list[float] = []
    for step in _STEPS.tolist():
        C = 10**step
        loss.append(held_out_loss(task, *fitted(solver, task, C, _ROUGH), C))
        if len(loss) > 1 and loss[-1] >= loss[-2]:
            break
    return 10 ** smooth_minimum(_STEPS[: len(loss)], torch.tensor(loss).double())


def held_out_loss(task: Task, weights: Float64[Tensor, " rank"], bias: float, C: float) -> float:
    """Mean log-loss (nats) of each pair under the fit without it.

    One Newton step from the fit on all prompts, whose Hessian without the pair has a closed form
    (approximate leave-one-out: Rad & Maleki 2020, doi.org/10.1111/rssb.12374).
    """
    ones = torch.ones(len(task.features), 1, dtype=torch.float64)
    z = torch.cat([task.features, ones], 1)
    logit = task.features @ weights + bias
    chance = torch.sigmoid(logit)
    curvature = task.weight * chance * (1 - chance)
    hessian = (z * curvature[:, None]).mT @ z
    hessian.diagonal()[:-1] += 1 / C
    hessian.diagonal()[-1] += 1e-9  # where all curvature is gone, nothing determines the bias
    root = torch.linalg.cholesky(hessian)
    half = torch.linalg.solve_triangular(root, z.mT, upper=False).mT[task.folds]
    present = (task.folds >= 0).double()
    influence = half @ half.mT
    slope = task.weight * (chance - task.refuse)
    pull = (present * slope[task.folds]).unsqueeze(-1)
    bend = (present * curvature[task.folds]).unsqueeze(-2)
    kept = torch.eye(2, dtype=z.dtype) - influence * bend
    change = torch.linalg.solve(kept, influence @ pull).squeeze(-1)
    sign = 2 * task.refuse[task.folds] - 1
    loss = torch.nn.functional.softplus(-sign * (logit[task.folds] + change))
    share = present * task.weight[task.folds]
    return float((share * loss).sum() / share.sum())


def new_solver() -> LogisticRegression:
    """A regression that starts from the fit before it."""
    return LogisticRegression(solver="newton-cholesky", max_iter=_MOST, warm_start=True)


def fitted(
    solver: LogisticRegression, task: Task, C: float, tolerance: float
) -> tuple[Float64[Tensor, " rank"], float]:
    """Weights of the features, and the bias, at one C."""
    solver.set_params(C=C, tol=tolerance)
    solver.fit(task.features.numpy(), task.refuse.numpy(), sample_weight=task.weight.numpy())
    weights, bias = torch.as_tensor(solver.coef_), torch.as_tensor(solver.intercept_)
    return weights.flatten().clone(), float(bias)

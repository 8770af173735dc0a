"""Fitting both detectors to readings: what is expected, and what suppression looks like."""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import torch
from jaxtyping import Float64
from sklearn.calibration import CalibratedClassifierCV
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.monitor.scoring import DETECTORS, Features, Scoring

LEAST: Final = 20
"""Prompts of either kind below which nothing is fitted."""

_FOLDS: Final = 5
_FLOOR: Final = 1e-9


def fit_scoring(unedited: Features, suppressed: Features, of: Sequence[int]) -> Scoring:
    """Both detectors, fitted pass by pass.

    `unedited` are prompts of every kind, as the model takes them; `suppressed` some of them again,
    with refusal suppressed; `of[i]` is the row of `unedited` that row i of `suppressed` is, so
    that both stay in one fold when the logistic model is calibrated.

    The expectation is a linear regression of later on early projections; the covariance of its
    residuals is shrunk (Ledoit and Wolf 2004). Passes that fewer than `LEAST` unedited answers
    reach are scaled as the last one that more reach. The logistic model is calibrated by Platt's
    sigmoid on out-of-fold scores, both sides weighted alike.

    Raises:
        InputError: fewer than `LEAST` prompts of either kind.
    """
    counts = {"unedited": len(unedited.x), "suppressed": len(suppressed.x)}
    for name, n in counts.items():
        if n < LEAST:
            raise InputError(
                f"{n} {name} prompts to fit a monitor on; expected at least {LEAST} (suppressed: "
                "prompts that the model refuses): give more prompts, or others that it refuses"
            )
    n_passes = unedited.y.shape[1]
    parts = [_fit_pass(unedited, suppressed, of, k) for k in range(n_passes)]
    raw = Scoring(*(torch.stack(column) for column in zip(*parts, strict=True)))
    return _scaled(raw, unedited)


def _fit_pass(
    unedited: Features, suppressed: Features, of: Sequence[int], k: int
) -> tuple[Tensor, ...]:
    x, y = unedited.x.numpy(), unedited.y[:, k].numpy()
    line = LinearRegression().fit(x, y)
    rest = y - line.predict(x)
    covariance = LedoitWolf(assume_centered=True).fit(rest).covariance_
    coefficients = np.column_stack([np.asarray(line.coef_), np.asarray(line.intercept_)])
    spread = np.sqrt(np.diag(covariance)).clip(_FLOOR)
    weights, bias = _logistic(
        np.column_stack([x, y]),
        np.column_stack([suppressed.x.numpy(), suppressed.y[:, k].numpy()]),
        of,
    )
    scale = torch.zeros(len(DETECTORS), dtype=torch.float64), torch.ones(len(DETECTORS)).double()
    arrays = (coefficients, np.linalg.pinv(covariance), spread, weights, bias)
    return (*(torch.as_tensor(a, dtype=torch.float64) for a in arrays), *scale)


def _logistic(
    unedited: Float64[np.ndarray, "row feature"],
    suppressed: Float64[np.ndarray, "again feature"],
    of: Sequence[int],
) -> tuple[Float64[np.ndarray, " feature"], float]:
    """Weights and bias of the calibrated logit of "suppressed", on features as they are."""
    features = np.concatenate([unedited, suppressed])
    label = np.repeat([0, 1], [len(unedited), len(suppressed)])
    group = np.concatenate([np.arange(len(unedited)), np.asarray(of)])
    weight = np.where(label == 1, len(unedited) / len(suppressed), 1.0)
    scaler = StandardScaler().fit(features)
    folds = list(GroupKFold(_FOLDS).split(features, label, group))
    options: dict[str, Any] = {"method": "sigmoid", "cv": folds, "ensemble": False}
    model: Any = CalibratedClassifierCV(LogisticRegression(max_iter=2000), **options)
    model.fit(scaler.transform(features), label, sample_weight=weight)
    fitted = model.calibrated_classifiers_[0]
    line, sigmoid = fitted.estimator, fitted.calibrators[0]
    # Platt: p = 1 / (1 + exp(a f + b)), so that the logit is -(a f + b).
    weights = -sigmoid.a_ * line.coef_[0] / scaler.scale_
    bias = -sigmoid.a_ * line.intercept_[0] - sigmoid.b_ - weights @ scaler.mean_
    return weights, float(bias)


def _scaled(raw: Scoring, unedited: Features) -> Scoring:
    """The same numbers with center and width of each pass and detector over unedited prompts.

    A pass that fewer than `LEAST` of their answers reach keeps those of the last one that more
    reach: few scores, or none, have no width to speak of.
    """
    scores = raw.scores(unedited)
    there = unedited.there[..., None]
    n = there.sum(0).clamp(min=1)
    center = (scores.nan_to_num(0.0) * there).sum(0) / n
    away = (scores.nan_to_num(0.0) - center) * there
    width = (away.square().sum(0) / n).sqrt().clamp(min=_FLOOR)
    filled = unedited.there.sum(0) >= LEAST
    last = torch.where(filled, torch.arange(len(filled)), 0).cummax(0).values
    return Scoring(**vars(raw) | {"center": center[last], "width": width[last]})

"""Whether what a suffix does to the residual stream predicts that it flips a refusal.

Rows are crossed, one per prompt and suffix. A prediction is held out in both: the model that
predicts a row saw neither its prompt (nor the prompt's twin) nor its suffix.
"""

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final, cast, final

import numpy as np
from jaxtyping import Bool, Float
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from refusal_lens.intervals import LEVEL
from refusal_lens.records import Brief, Estimate
from refusal_lens.suffixes.resampling import (
    METHOD,
    auroc_estimate,
    crossed_weights,
    within_auroc_estimate,
)

FOLDS: Final = 4
LEAST_FLIPS: Final = 10
"""Rows of either outcome under which nothing is fitted."""
_PERMUTATIONS: Final = 10
_RIDGE: Final = 1.0  # scikit-learn's C; keeps a separable fit finite, negligible with many rows

Columns = Mapping[str, Float[np.ndarray, " row"]]


@final
@dataclass(frozen=True, eq=False)
class FlipRows(Brief):
    """Rows of prompts under suffixes: what was measured, and whether the verdict flipped.

    `units` are the prompts with a pair as one, which is what is held out and drawn as a whole;
    `columns` the quantities by name, not standardised.
    """

    columns: Columns
    flipped: Bool[np.ndarray, " row"]
    prompts: tuple[Hashable, ...]
    units: tuple[Hashable, ...]
    suffixes: tuple[Hashable, ...]

    @property
    def reason(self) -> str | None:
        """Why nothing can be fitted; None where it can."""
        flips, n = int(self.flipped.sum()), len(self.flipped)
        if min(flips, n - flips) < LEAST_FLIPS:
            least = f"at least {LEAST_FLIPS} that did and {LEAST_FLIPS} that did not"
            return f"{flips} of {n} rows flipped; expected {least}"
        for what, names in (("prompts", self.units), ("suffixes", self.suffixes)):
            if len({*names}) < FOLDS:
                return f"{len({*names})} {what}; expected at least {FOLDS}, one per fold"
        return None


@final
@dataclass(frozen=True)
class Prediction:
    """How well some quantities predict flips, and the weight of each.

    `auroc` is of held-out predictions, its control the same with outcomes shuffled over all rows;
    `within` compares only rows of one prompt, so that how near a prompt is to its threshold does
    not count. `coefficients` are log-odds per standard deviation, all rows, positive towards a
    flip.
    """

    name: str
    columns: tuple[str, ...]
    auroc: Estimate
    within: Estimate
    coefficients: tuple[Estimate, ...]


def predict_flips(
    rows: FlipRows, columns: Sequence[str], *, name: str, draws: int, seed: int = 0
) -> Prediction:
    """Logistic regression of flips on standardised columns, held out by prompt and by suffix.

    >>> import numpy as np
    >>> push = np.arange(64.0) % 8
    >>> asked, suffixes = tuple(i // 8 for i in range(64)), tuple(i % 8 for i in range(64))
    >>> rows = FlipRows({"push": push}, push > 3, asked, asked, suffixes)
    >>> predict_flips(rows, ["push"], name="push", draws=20).auroc.value
    1.0
    """
    x, y = design(rows.columns, columns), rows.flipped
    weights = crossed_weights(rows.units, rows.suffixes, draws, seed)
    score = held_out_scores(x, y, rows.units, rows.suffixes, seed=seed)
    control = _permuted(rows, x, seed, times=max(1, min(_PERMUTATIONS, draws // 20)))
    return Prediction(
        name=name,
        columns=tuple(columns),
        auroc=auroc_estimate(score, y, weights, control),
        within=within_auroc_estimate(score, y, rows.prompts, weights),
        coefficients=_coefficients(x, y, weights),
    )


def design(columns: Columns, names: Sequence[str]) -> Float[np.ndarray, "row column"]:
    """The named columns, standardised; `a x b` is the product of two standardised ones.

    >>> import numpy as np
    >>> design({"push": np.array([1.0, 3.0])}, ["push"]).tolist()
    [[-1.0], [1.0]]
    """
    parts = [[_standardised(columns[part]) for part in name.split(" x ")] for name in names]
    return np.stack([np.prod(part, axis=0) for part in parts], axis=1)


def with_products(names: Sequence[str]) -> tuple[str, ...]:
    """The names, and those of the products of every two.

    >>> with_products(["push", "shift"])
    ('push', 'shift', 'push x shift')
    """
    return (*names, *(f"{a} x {b}" for a, b in combinations(names, 2)))


def held_out_scores(
    x: Float[np.ndarray, "row column"],
    flipped: Bool[np.ndarray, " row"],
    units: Sequence[Hashable],
    suffixes: Sequence[Hashable],
    *,
    seed: int = 0,
) -> Float[np.ndarray, " row"]:
    """Log-odds of each row, but for a constant, by a fit without its prompt and its suffix.

    Prompts and suffixes are dealt into folds; each block of a fold of prompts and a fold of
    suffixes is predicted from the rows that share neither fold. The constant of a fit is left out:
    it only says how many flips the other rows have, so that a block with many would rank low.
    """
    rng = np.random.default_rng(seed)
    fold_of_unit, fold_of_suffix = _folds(units, rng), _folds(suffixes, rng)
    scores = np.zeros(len(flipped))
    for i in range(FOLDS):
        for j in range(FOLDS):
            test = (fold_of_unit == i) & (fold_of_suffix == j)
            train = (fold_of_unit != i) & (fold_of_suffix != j)
            if test.any():
                scores[test] = _score(x[train], flipped[train], x[test])
    return scores


def _score(
    x: Float[np.ndarray, "row column"], y: Bool[np.ndarray, " row"], at: np.ndarray
) -> Float[np.ndarray, " test"]:
    if y.all() or not y.any():  # nothing to learn from: the same for every row
        return np.zeros(len(at))
    return at @ _fit(x, y).coef_[0]


def _fit(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> Any:
    model = LogisticRegression(C=_RIDGE, solver="newton-cholesky")  # quick with few columns
    with warnings.catch_warnings():  # where its line search ends early it goes on by L-BFGS
        warnings.simplefilter("ignore", ConvergenceWarning)
        return cast(Any, model).fit(x, y, sample_weight=weight)


def _folds(names: Sequence[Hashable], rng: np.random.Generator) -> np.ndarray:
    distinct = list(dict.fromkeys(names))
    dealt = rng.permutation(len(distinct)) % FOLDS
    of = dict(zip(distinct, dealt.tolist(), strict=True))
    return np.array([of[name] for name in names])


def _coefficients(
    x: np.ndarray, y: np.ndarray, weights: Float[np.ndarray, "draw row"]
) -> tuple[Estimate, ...]:
    value = _fit(x, y).coef_[0]
    drawn: list[np.ndarray] = []
    for weight in weights:
        some = weight > 0
        if some.any() and 0 < y[some].sum() < some.sum():
            drawn.append(_fit(x[some], y[some], weight[some]).coef_[0])
    method = f"logistic regression, standardised, {METHOD}"
    ends = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(np.stack(drawn), ends, axis=0) if drawn else (None, None)
    return tuple(
        Estimate(
            float(value[k]),
            None if low is None else float(low[k]),
            None if high is None else float(high[k]),
            len(y),
            method,
            0.0,
        )
        for k in range(x.shape[1])
    )


def _permuted(rows: FlipRows, x: np.ndarray, seed: int, *, times: int) -> float:
    """Mean held-out AUROC with outcomes shuffled over rows: chance, unless something leaks."""
    rng, areas = np.random.default_rng(seed + 1), list[float]()
    none = np.zeros((0, len(x)))
    for k in range(times):
        shuffled = rng.permutation(rows.flipped)
        score = held_out_scores(x, shuffled, rows.units, rows.suffixes, seed=seed + k)
        areas.append(auroc_estimate(score, shuffled, none).value or 0.5)
    return float(np.mean(areas))


def _standardised(values: Float[np.ndarray, " row"]) -> Float[np.ndarray, " row"]:
    spread = float(values.std())
    return (values - values.mean()) / (spread if spread > 0 else 1.0)

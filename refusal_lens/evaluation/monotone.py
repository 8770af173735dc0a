"""Refusal and over-refusal over strength as monotone curves, under resampled pairs and without each
category, read at refusal rates."""

from typing import Final, final

import numpy as np
from jaxtyping import Float, Float64
from sklearn.isotonic import isotonic_regression

from refusal_lens.errors import InputError
from refusal_lens.evaluation.grid import Grid
from refusal_lens.intervals import TAILS
from refusal_lens.prompts.prompt import category_of

Points = Float64[np.ndarray, " strength"]
_DIGITS: Final = 9


@final
class Curves:
    """Monotone curves by draw (the first is the data) and direction, read at refusal rates.

    `left` are those without each category.
    """

    def __init__(
        self,
        fitted: Float[np.ndarray, "draw direction 2 strength"],
        left: Float[np.ndarray, "category direction 2 strength"],
        rates: tuple[float, ...],
    ) -> None:
        self.fitted = fitted
        self.left = left
        self.rates = rates
        low, high = fitted[:, :, 0, 0], fitted[:, :, 0, -1]
        self.low = np.maximum(np.quantile(low, TAILS[1], axis=0), low[0])
        self.high = np.minimum(np.quantile(high, TAILS[0], axis=0), high[0])
        self.at, self.left_at = self.read(np.array(rates))

    def reaches(self, direction: int, rate: float) -> bool:
        """Whether a refusal rate lies inside the direction's range."""
        return bool(self.low[direction] <= rate <= self.high[direction])

    def read(
        self, rates: Float[np.ndarray, " rate"]
    ) -> tuple[
        Float[np.ndarray, "draw direction rate"], Float[np.ndarray, "category direction rate"]
    ]:
        """Over-refusal at refusal rates by draw and without each category; NaN: off its curve."""
        return _read(self.fitted, rates), _read(self.left, rates)


def _read(
    fitted: Float[np.ndarray, "draw direction 2 strength"], rates: Float[np.ndarray, " rate"]
) -> Float[np.ndarray, "draw direction rate"]:
    n_draws, n_directions = fitted.shape[:2]
    over_refusal = np.full((n_draws, n_directions, len(rates)), np.nan)
    for w in range(n_draws):
        for d in range(n_directions):
            over_refusal[w, d] = over_refusal_at(fitted[w, d, 0], fitted[w, d, 1], rates)
    return over_refusal


def over_refusal_at(
    refusal: Points, over_refusal: Points, rates: Float[np.ndarray, " rate"]
) -> Float[np.ndarray, " rate"]:
    """Over-refusal between the points of a monotone curve; NaN outside its range.

    Linear between two neighbouring strengths. At a rate that several strengths share, while
    over-refusal grows, the middle of the step is taken: at that rate alone, for below and above it
    the curve goes on from the step's ends.
    """
    # Shares of weighted pairs are rounded: what is equal must not turn on the last digit.
    rates = rates.round(_DIGITS)
    x, where = np.unique(refusal.round(_DIGITS), return_inverse=True)
    low = over_refusal[np.searchsorted(where, np.arange(len(x)), side="left")]
    high = over_refusal[np.searchsorted(where, np.arange(len(x)), side="right") - 1]
    after = np.searchsorted(x, rates).clip(0, len(x) - 1)
    before = (after - 1).clip(0)
    width = np.where(after > before, x[after] - x[before], 1.0)
    between = high[before] + (rates - x[before]) / width * (low[after] - high[before])
    read = np.where(x[after] == rates, (low + high)[after] / 2, between)
    return np.where((x[0] <= rates) & (rates <= x[-1]), read, np.nan)


def drawn_curves(
    grid: Grid, rates: tuple[float, ...], draws: int, seed: int
) -> tuple[Curves, int, int]:
    """The curves, and how many pairs and categories they rest on.

    Pairs of which one side has no verdict under some direction are left out of every curve.

    Raises:
        InputError: fewer than two pairs are left.
    """
    flags = grid.refused.numpy()
    known = flags.min(axis=(0, 1, 2)) >= 0
    flags = flags[..., known].astype(np.float64)
    n = flags.shape[-1]
    if n < 2:
        raise InputError(f"{n} pairs have a verdict under every direction; expected at least 2")
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    category = np.array([category_of(name) for name in grid.pairs])[known]
    without = (category != np.unique(category)[:, None]).astype(np.float64)
    n_categories = len(without)
    if n_categories == 1:  # nothing would be left
        without = without[:0]
    weights = np.concatenate([np.ones((1, n)), drawn, without])
    raw = np.einsum("wp,dskp->wdks", weights, flags) / weights.sum(1)[:, None, None, None]
    fitted = np.apply_along_axis(isotonic_regression, -1, raw)
    return Curves(fitted[: draws + 1], fitted[draws + 1 :], rates), n, n_categories

"""Controls: directions of the mean difference's length that labels tell nothing.

A random one; the mean difference after the labels of half of each category's pairs (and prompts
without a partner) were exchanged, in which the difference between the sides cancels, up to one pair
of a category with an odd number; and one drawn from the covariance of prompts around the mean of
their side, which refusal may be part of where prompts of one side differ in it. Each has several
draws, of which each prompt gets one in turn, so that no single draw stands for chance.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import torch

from refusal_lens.directions import Direction, make_estimator
from refusal_lens.evaluation.effects import CONTROLS
from refusal_lens.progress import Progress
from refusal_lens.prompts.exchange import exchange_half
from refusal_lens.residuals import Residuals
from refusal_lens.study.compared import drawn_within_class, of_length
from refusal_lens.study.estimators.entry import REFERENCE, Compared, Fitted, pooled_direction
from refusal_lens.study.stage import Bench

DRAWS: Final = 8
_LAST: Final = 900


def _control(
    draw: Callable[[Residuals, Direction, int], torch.Tensor],
    bench: Bench,
    residuals: Residuals,
    tick: Progress,
) -> Fitted:
    like = pooled_direction(make_estimator(REFERENCE).within_categories(residuals))
    draws = tuple(
        of_length(draw(residuals, like, bench.study.seed + i), like, f"draw {i + 1}")
        for i in range(DRAWS)
    )
    tick(DRAWS)
    return Fitted(draws, method=f"{DRAWS} draws, of the mean difference's length")


def _random(residuals: Residuals, like: Direction, seed: int) -> torch.Tensor:
    del residuals
    return like.random_like(seed).vector


def _shuffled(residuals: Residuals, like: Direction, seed: int) -> torch.Tensor:
    """The mean difference after the labels of half of each category were exchanged."""
    del like
    exchanged = residuals.only(prompts=exchange_half(residuals.labelled, seed))
    return pooled_direction(make_estimator(REFERENCE).within_categories(exchanged)).vector


def _within_class(residuals: Residuals, like: Direction, seed: int) -> torch.Tensor:
    del like
    return drawn_within_class(residuals, seed)


COMPARED: Final = tuple(
    # Each draw is fitted, and has a strength at the damage budget of its own.
    Compared(name, "control", partial(_control, draw), counts=2 * DRAWS, place=_LAST + i)
    for i, (name, draw) in enumerate(
        zip(CONTROLS, (_random, _shuffled, _within_class), strict=True)
    )
)

"""Conditions for conditional steering: what is read on a prompt, and when it counts as met."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final, Literal, final, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.judges.first_token import best_threshold
from refusal_lens.linalg import fingerprint
from refusal_lens.sites import Site

ThresholdSide = Literal["above", "below"]
SIDES: Final[tuple[str, ...]] = get_args(ThresholdSide)

_FOLDS: Final = 5
_PENALTY: Final = 0.01  # inverse strength; standardised inputs, more dimensions than prompts


class Condition(ABC):
    """A number read at one token of the prompt, and the side of a threshold on which it counts.

    It holds where the number is strictly above, or strictly below, the threshold; at the
    threshold itself, or where the number is undefined, it does not hold.
    """

    @property
    @abstractmethod
    def site(self) -> Site:
        """Where the stream is read, as the hook point shows it."""

    @property
    @abstractmethod
    def offset(self) -> int:
        """The prompt token that is read; -1 is the prompt's last."""

    @property
    @abstractmethod
    def limit(self) -> tuple[ThresholdSide, float]:
        """The side on which the condition holds, and the threshold."""

    @property
    @abstractmethod
    def width(self) -> int:
        """The d_model for which the condition is made."""

    @property
    def directions_used(self) -> tuple[Direction, ...]:
        """The directions that it reads along, if any."""
        return ()

    @abstractmethod
    def values(self, resid: Float[Tensor, "prompt d_model"]) -> Float[Tensor, " prompt"]:
        """The number that is compared with the threshold."""

    def holds(self, resid: Float[Tensor, "prompt d_model"]) -> Bool[Tensor, " prompt"]:
        """Whether the condition holds for each prompt.

        >>> rl.Cosine(direction, "above", 0.5).holds(direction.vector[None])
        tensor([True])
        """
        side, threshold = self.limit
        values = self.values(resid.float())
        return values > threshold if side == "above" else values < threshold


@final
@dataclass(frozen=True, eq=False)
class Cosine(Condition):
    """The cosine of the stream with a direction, where the direction was fitted.

    Lee et al. 2024 (CAST) compare the stream with its own projection onto the direction, whose
    sign is lost; here the cosine is signed. It holds strictly above or below the threshold, as
    `holds_if` says ("above", "below"). `at` names another site.

    >>> condition = rl.Cosine(direction, "above", 0.5)
    >>> condition.holds(direction.vector[None]), condition.holds(-direction.vector[None])
    (tensor([True]), tensor([False]))

    Raises:
        InputError: an unknown side, or a threshold outside [-1, 1].
    """

    direction: Direction
    holds_if: ThresholdSide
    threshold: float
    at: Site | None = None

    def __post_init__(self) -> None:
        _check(self.holds_if, self.threshold, self.offset)
        if not -1 <= self.threshold <= 1:
            raise InputError(f"threshold {self.threshold} is no cosine: give one from -1 to 1")

    @property
    def site(self) -> Site:
        """The direction's own site, or the one named."""
        return self.direction.site if self.at is None else self.at

    @property
    def offset(self) -> int:
        """The token at which the direction was fitted."""
        return self.direction.offset

    @property
    def limit(self) -> tuple[ThresholdSide, float]:
        """The side on which the condition holds, and the threshold."""
        return self.holds_if, self.threshold

    @property
    def width(self) -> int:
        """That of the direction."""
        return len(self.direction.vector)

    @property
    def directions_used(self) -> tuple[Direction, ...]:
        """The one direction."""
        return (self.direction,)

    def values(self, resid: Float[Tensor, "prompt d_model"]) -> Float[Tensor, " prompt"]:
        """x . r / |x|; NaN for a vector of length zero.

        >>> float(rl.Cosine(direction, "above", 0.5).values(-2.0 * direction.vector[None]))
        -1.00
        """
        return resid @ self.direction.vector.to(resid) / resid.norm(dim=-1)

    def __repr__(self) -> str:
        where = f"{self.site}, offset {self.offset}"
        return (
            f"cosine with {self.direction.category!r} at {where} {self.holds_if} {self.threshold}"
        )


@final
@dataclass(frozen=True, eq=False)
class Probe(Condition):
    """The value of a linear probe, x . weight + bias; `Probe.fit` fits one.

    >>> probe = rl.Probe("mine", direction.vector, bias=-1.0, at=rl.Site(2), holds_if="above")
    >>> probe.values(3.0 * direction.vector[None])
    tensor([2.00])

    Raises:
        InputError: an unknown side, a number that is not finite, or an offset that is not negative.
    """

    name: str
    weight: Float[Tensor, " d_model"]
    bias: float
    at: Site
    holds_if: ThresholdSide
    threshold: float = 0.0
    token: int = -1

    @classmethod
    def fit(
        cls,
        resid: Float[Tensor, "prompt d_model"],
        refuse: Bool[Tensor, " prompt"],
        *,
        name: str,
        at: Site,
        token: int = -1,
    ) -> "Probe":
        """A logistic probe that holds for the refuse side, from residuals read at `at` and `token`.

        Weight and bias give log-odds (nats) of the refuse side; residuals are standardised for the
        fit (L2 penalty, C = .01). The threshold is the one with the largest Youden index
        (sensitivity + specificity - 1) on log-odds of prompts left out of the fit, in five folds:
        on the prompts of the fit, of which there are fewer than dimensions, any threshold would
        separate the two. After the gate of arXiv 2603.13359, whose probe is trained by AdamW.

        >>> import torch
        >>> resid = torch.randn(40, 4)
        >>> resid[:20, 0] += 6.0
        >>> probe = rl.Probe.fit(resid, torch.arange(40) < 20, name="mine", at=rl.Site(2))
        >>> bool(probe.holds(resid)[:20].float().mean() > 0.9)
        True

        Raises:
            InputError: residuals that aren't finite, a side with fewer than five prompts, or
                labels that no threshold separates.
        """
        sides = int(refuse.sum()), int((~refuse).sum())
        if min(sides) < _FOLDS:
            raise InputError(
                f"probe {name!r} has {sides[0]} refuse-side and {sides[1]} comply-side prompts; "
                f"give at least {_FOLDS} of each"
            )
        if not bool(torch.isfinite(resid).all()):
            raise InputError(f"probe {name!r} at {at}: the residuals hold a number not finite")
        x, y = resid.double().numpy(), refuse.numpy()
        scaler, logistic = StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=1000)
        probe = make_pipeline(scaler, logistic)
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
        left_out = cross_val_predict(probe, x, y, cv=folds, method="decision_function")
        threshold = best_threshold(torch.from_numpy(left_out), refuse)
        if not math.isfinite(threshold):
            raise InputError(
                f"probe {name!r} at {at}: no threshold separates prompts left out of the fit any "
                "better than chance; use another site or more prompts"
            )
        probe.fit(x, y)
        weight = np.ravel(logistic.coef_) / np.asarray(scaler.scale_)
        bias = float(np.ravel(logistic.intercept_)[0] - weight @ np.asarray(scaler.mean_))
        return cls(name, torch.from_numpy(weight).float(), bias, at, "above", threshold, token)

    def __post_init__(self) -> None:
        _check(self.holds_if, self.threshold, self.token)
        if not (math.isfinite(self.bias) and bool(torch.isfinite(self.weight).all())):
            raise InputError(f"probe {self.name!r} at {self.at} holds a number that is not finite")

    @property
    def site(self) -> Site:
        """Where the probe was fitted."""
        return self.at

    @property
    def offset(self) -> int:
        """The token at which the probe was fitted."""
        return self.token

    @property
    def limit(self) -> tuple[ThresholdSide, float]:
        """The side on which the condition holds, and the threshold."""
        return self.holds_if, self.threshold

    @property
    def width(self) -> int:
        """That of the probe's weight."""
        return len(self.weight)

    def values(self, resid: Float[Tensor, "prompt d_model"]) -> Float[Tensor, " prompt"]:
        """x . weight + bias.

        >>> probe = rl.Probe("mine", direction.vector, bias=-1.0, at=rl.Site(2), holds_if="above")
        >>> probe.values(3.0 * direction.vector[None])
        tensor([2.00])
        """
        return resid @ self.weight.to(resid) + self.bias

    def __repr__(self) -> str:
        name = f"probe {self.name!r} {fingerprint(self.weight)}"
        where = f"{self.site}, offset {self.offset}"
        return f"{name} at {where} {self.holds_if} {self.threshold}"


def _check(side: str, threshold: float, offset: int) -> None:
    if side not in SIDES:
        raise InputError(f"holds_if {side!r} is unknown; use one of {list(SIDES)}")
    if not math.isfinite(threshold):
        raise InputError(f"threshold {threshold} is not a finite number")
    if offset >= 0:
        raise InputError(f"offset {offset} must be negative: -1 is the prompt's last token")

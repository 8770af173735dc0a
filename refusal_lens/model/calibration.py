"""How strong an addition may be: the strength at which it does a stated damage to benign prompts.

The damage is KL(unedited || edited) of the token after a benign prompt, a high quantile of it over
prompts. Two directions at one strength may damage a model very differently; at one damage they can
be compared. The curve of KL over strength begins at 0 and grows as the square of the strength
there. From .125 it is walked upwards by factors of 2 until it passes the budget, and one step
beyond, or, where it is above the budget there, down until it is below; the crossing is then found
on logarithmic axes, on which the curve is nearly straight (Brent's method). That is the first
crossing met on this way: strengths below it that were not tried may reach the budget, too.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.optimize import root_scalar
from torch import Tensor

from refusal_lens.arguments import one, several
from refusal_lens.directions import Calibration, Direction
from refusal_lens.errors import InputError
from refusal_lens.intervals import TAILS
from refusal_lens.interventions import Add, Edit
from refusal_lens.linalg import kl_at_last_token
from refusal_lens.model.feed import Prompts
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.records import Estimate, Provenance

_FIRST: Final = 0.125  # where the walk begins
_LEAST: Final = 2.0**-24  # of the limit: no weaker addition is tried
_CLOSE: Final = 1e-3  # relative precision of a strength
_FALL: Final = 0.01  # of the budget: by less than this a curve does not count as falling
_JUMP: Final = 1.1  # times the budget, or a part of it: no crossing, but a jump over it
_ROWS: Final = 64  # prompts whose edited logits are in memory at a time
_DRAWS: Final = 2000

KlAt = Callable[[float], Float[Tensor, " prompt"]]


@runtime_checkable
class Edited(Protocol):
    """What is needed of a model: `LensModel` has it."""

    def logits(self, prompts: Prompts, /) -> Float[Tensor, "prompt d_vocab"]:
        """Logits at the last token of each prompt."""
        ...

    def editing(self, *edits: Edit) -> AbstractContextManager[object]:
        """Put edits on."""
        ...

    def sweeping(self, layers: Sequence[int]) -> AbstractContextManager[object]:
        """Let passes begin where an edit acts."""
        ...

    def provenance(self, prompts: PromptSet | None = None) -> Provenance:
        """What is needed to make a number again."""
        ...


def calibrate(
    model: Edited,
    direction: Direction,
    prompts: Prompts,
    *,
    kl: float = 1.0,
    quantile: float = 0.95,
    limit: float = 64.0,
) -> Calibration:
    """A strength at which adding a direction does a stated damage to benign prompts.

    It is the first crossing met on the way up from .125, or down from there; on a curve that only
    rises, the smallest such strength: the s at which the `quantile` over `prompts` of
    KL(unedited || edited), in nats, of the next token is `kl` under `Add(direction, strength=s)`;
    "unedited" is with the edits that are on already. No strength beyond `limit` is tried (units of
    the direction's scale); a negative `limit` asks for subtraction. Where the curve crosses the
    budget more than once between two strengths tried (a factor of 2), any of these crossings is
    taken; where it falls from one strength tried to the next, or jumps from below the budget to
    more than 1.1 times it, `reason` says so.

    The unedited logits of all prompts are kept (float32), the edited ones of 64 prompts at a time;
    passes begin at the direction's layer (`LensModel.sweeping`).

    >>> calibration = model.calibrate(direction, prompts.only(label="comply"), kl=0.01)
    >>> calibration.kl.value, calibration.strength > 0
    (0.01, True)
    >>> model.calibrate(direction, ["Why?", "Who?"], kl=99.0).strength is None
    True

    Raises:
        InputError: fewer than two prompts, a budget that is not positive, a quantile outside 0 to
            1, or a limit of 0.
    """
    one(direction, Direction, what="the direction", write="model.calibrate(direction, prompts)")
    rows = several(
        prompts, (str, Prompt), what="prompt", write='direction.calibrate(model, ["tides?", ...])'
    )
    _check(len(rows), kl, quantile, limit)
    parts = [rows[i : i + _ROWS] for i in range(0, len(rows), _ROWS)]
    sign = math.copysign(1.0, limit)
    with model.sweeping([direction.site.layer]):
        plain = [model.logits(part) for part in parts]

        def kl_at(size: float) -> Float[Tensor, " prompt"]:
            with model.editing(Add(direction, strength=sign * size)):
                return torch.cat(
                    [
                        kl_at_last_token(a, model.logits(b))
                        for a, b in zip(plain, parts, strict=True)
                    ]
                )

        curve = DamageCurve(kl_at, kl, quantile)
        size, reason = curve.crossing(abs(limit))
    made = model.provenance(prompts if isinstance(prompts, PromptSet) else None)
    low, high = (None, None) if size is None else curve.interval(size)
    ends = [None if x is None else sign * x for x in (low, high)]
    low, high = ends if sign > 0 else ends[::-1]
    return Calibration(
        strength=None if size is None else sign * size,
        low=low,
        high=high,
        kl=curve.estimate(curve.largest if size is None else size),
        budget=kl,
        quantile=quantile,
        limit=limit,
        curve=tuple((sign * s, q) for s, q in curve.points()),
        reason=reason,
        provenance=made,
    )


def _check(n: int, kl: float, quantile: float, limit: float) -> None:
    if n < 2:
        raise InputError(f"calibration needs at least 2 benign prompts; found {n}")
    if not (math.isfinite(kl) and kl > 0):
        raise InputError(f"kl {kl} is no damage budget; expected a positive number of nats")
    if not 0 < quantile <= 1:
        raise InputError(f"quantile {quantile} of the KL over prompts; expected above 0, at most 1")
    if not math.isfinite(limit) or limit == 0:
        raise InputError(
            f"limit {limit} of the strength; expected a number above 0, or below 0 to subtract"
        )


@final
class DamageCurve:
    """The quantile of KL over prompts at every strength tried, and where it reaches the budget.

    `kl_at` gives the KL of each prompt at a strength above 0; each strength is measured once.

    >>> import torch
    >>> kl = torch.tensor([0.5, 1.0, 2.0])
    >>> curve = DamageCurve(lambda s: s**2 * kl, budget=4.0, quantile=0.5)
    >>> round(curve.crossing(limit=64.0)[0], 2)
    2.0
    """

    def __init__(self, kl_at: KlAt, budget: float, quantile: float) -> None:
        self._kl_at, self._budget, self._quantile = kl_at, budget, quantile
        self._tried: dict[float, Float64[Tensor, " prompt"]] = {}

    def crossing(self, limit: float) -> tuple[float | None, str | None]:
        """The first strength met that reaches the budget, and what to know about it.

        Met on the way up from .125, or down from there; see the module.
        """
        a, b = self._bracket(limit)
        if self.at(b) < self._budget:
            return None, (
                f"the {self._quantile:g} quantile of KL stays below {self._budget:g} nats up to "
                f"strength {limit:g}"
            )
        if self.at(a) >= self._budget:
            return None, f"KL is above {self._budget:g} nats at every strength down to {a:.3g}"
        if not math.isfinite(self.at(b)):
            return None, f"KL is not finite at strength {b:.4g}, and below the budget at {a:.4g}"
        self.at(min(2 * b, limit))  # one step beyond, for the interval, and to see it fall

        def size_at(x: float) -> float:
            return b if x == 1 else a * (b / a) ** x

        def excess(x: float) -> float:
            return math.log(min(max(self.at(size_at(x)), 1e-300), 1e300) / self._budget)

        size = size_at(float(root_scalar(excess, bracket=(0.0, 1.0), xtol=_CLOSE).root))
        if abs(math.log(max(self.at(size), 1e-300) / self._budget)) > math.log(_JUMP):
            return self._jump(a)
        return size, self._fall()

    def _jump(self, below: float) -> tuple[float | None, str | None]:
        """The upper end of a jump over the budget above a strength, and that it is one."""
        sizes = sorted(s for s in self._tried if s >= below)
        at = next(i for i, s in enumerate(sizes) if self.at(s) >= self._budget)
        a, b = sizes[at - 1], sizes[at]
        if not math.isfinite(self.at(b)):
            return None, f"KL is not finite at strength {b:.4g}, and below the budget at {a:.4g}"
        if self.at(b) <= _JUMP * self._budget:
            return b, self._fall()
        return b, f"KL jumps from {self.at(a):.4g} to {self.at(b):.4g} nats here"

    def _bracket(self, limit: float) -> tuple[float, float]:
        """Two strengths, a factor of at most 2 apart, of which the second reaches the budget.

        Or the first does too, or not even the last does.
        """
        a = b = min(_FIRST, limit)
        if self.at(b) >= self._budget:
            while self.at(a) >= self._budget and a > _LEAST * limit:
                a, b = a / 2, a
            return a, b
        while self.at(b) < self._budget and b < limit:
            a, b = b, min(2 * b, limit)
        return a, b

    def at(self, size: float) -> float:
        """The quantile at a strength; infinite where a number is not finite."""
        if size not in self._tried:
            kl = self._kl_at(size).double()
            self._tried[size] = torch.where(kl.isfinite(), kl.clamp(min=0.0), math.inf)
        return float(_quantile(self._tried[size].numpy(), self._quantile))

    @property
    def largest(self) -> float:
        """The largest strength tried."""
        return max(self._tried)

    def points(self) -> list[tuple[float, float]]:
        """Strengths tried, in order, with the quantile where it is finite."""
        return [(s, q) for s in sorted(self._tried) if math.isfinite(q := self.at(s))]

    def estimate(self, size: float) -> Estimate:
        """The quantile at a strength, with a percentile bootstrap over prompts."""
        value, n = self.at(size), len(self._tried[size])
        method = (
            f"{self._quantile:g} quantile over prompts of KL(unedited || edited), nats; percentile "
            "bootstrap over prompts; control: unedited"
        )
        if not math.isfinite(value):
            return Estimate(None, None, None, n, method, 0.0)
        low, high = np.quantile(self._drawn(size), TAILS, method="nearest")
        return Estimate(value, float(low), float(high), n, method, 0.0)

    def interval(self, size: float) -> tuple[float | None, float | None]:
        """The 2.5th and 97.5th percentile of the crossing over draws of prompts, and `size` within.

        A draw's crossing is read off between strengths tried, which at a jump may put all draws
        below the strength that was taken.
        """
        sizes = np.array(sorted(self._tried))
        logs = np.log(np.maximum(np.stack([self._drawn(s) for s in sizes]), 1e-300))
        logs -= math.log(self._budget)
        reached = logs >= 0
        second = reached.argmax(0)
        first = np.maximum(second - 1, 0)
        draws = np.arange(logs.shape[1])
        a, b = logs[first, draws], logs[second, draws]
        with np.errstate(invalid="ignore", divide="ignore"):
            share = np.where(np.isfinite(b) & (first < second), -a / (b - a), 0.0)
        steps = np.log(sizes)
        crossings = np.exp(steps[first] + share * (steps[second] - steps[first]))
        crossings[reached[0]] = 0.0  # already at the weakest one tried
        crossings[~reached.any(0)] = math.inf
        low, high = np.quantile(crossings, TAILS, method="nearest")
        low, high = min(low, size), max(high, size)
        return (float(low) if low > 0 else None), (float(high) if high < math.inf else None)

    def _fall(self) -> str | None:
        """Where the curve falls from one strength tried to the next, in words."""
        points = self.points()
        for (a, before), (b, after) in zip(points, points[1:], strict=False):
            if after < before - _FALL * self._budget:
                return (
                    f"KL does not only rise: it falls from {before:.4g} nats at strength {a:.4g} "
                    f"to {after:.4g} at {b:.4g}; this is the first crossing of the budget met on "
                    f"the way up from {_FIRST:g}, or down from there"
                )
        return None

    def _drawn(self, size: float) -> Float[np.ndarray, " draw"]:
        """The quantile at a strength when prompts are drawn again, the same draws at each."""
        kl = self._tried[size].numpy()
        draws = np.random.default_rng(0).integers(len(kl), size=(_DRAWS, len(kl)))
        return _quantile(kl[draws], self._quantile)


def _quantile(kl: Float[np.ndarray, "*draw prompt"], q: float) -> Float[np.ndarray, "*draw"]:
    """Quantiles over prompts, with infinite numbers among them."""
    ordered, place = np.sort(kl, axis=-1), q * (kl.shape[-1] - 1)
    below, above = ordered[..., math.floor(place)], ordered[..., math.ceil(place)]
    with np.errstate(invalid="ignore"):
        between = below + (place % 1) * (above - below)
    return np.where(np.isfinite(above), between, math.inf)

"""`Calibration`: the strength of an addition at which it does a stated damage."""

from dataclasses import dataclass
from typing import ClassVar, final

from refusal_lens.records import Estimate, Provenance, Record


@final
@dataclass(frozen=True)
class Calibration(Record):
    """The strength for a damage budget, found by `Direction.calibrate`.

    `strength` is in units of the direction's scale, negative where subtraction was asked for, and
    None where no strength up to `limit` reaches the budget; `low` and `high` bound its 95% interval
    (percentile bootstrap over prompts), None where it does not end within the strengths tried.
    `kl` is the `quantile` over benign prompts of KL(unedited || edited) of the next token, in nats,
    at that strength (at the largest one tried where there is none); control: unedited, 0. `curve`
    holds every strength tried and that quantile, in order of size. `reason` says why there is no
    strength, or what to know about it, as that KL jumps over the budget there; None where the curve
    rises to the budget.

    >>> d = direction.calibrate(model, prompts.only(label="comply"), kl=0.01)
    >>> d.low <= d.strength <= d.high, d.kl.n, d.reason
    (True, 18, None)
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    strength: float | None
    low: float | None
    high: float | None
    kl: Estimate
    budget: float
    quantile: float
    limit: float
    curve: tuple[tuple[float, float], ...]
    reason: str | None
    provenance: Provenance

    def __str__(self) -> str:
        size = "no strength" if self.strength is None else f"strength {self.strength:.4g}"
        ends = [None if x is None else f"{x:.4g}" for x in (self.low, self.high)]
        if self.strength is not None and any(ends):
            size += f" [{ends[0] or 'below those tried'}, {ends[1] or 'above those tried'}]"
        why = f"; {self.reason}" if self.reason else ""
        return f"{size} for KL {self.budget:g} nats at quantile {self.quantile:g}: {self.kl}{why}"

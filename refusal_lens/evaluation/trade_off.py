"""Refusal against over-refusal as the strength of an added direction grows."""

from dataclasses import dataclass
from typing import ClassVar, final

from refusal_lens.records import Estimate, Record


@final
@dataclass(frozen=True)
class Curve:
    """Refusal rates of the refuse side and of the benign side at each strength.

    `length` is what strength 1 adds, in residual-stream units.
    """

    name: str
    length: float
    strengths: tuple[float, ...]
    refusal: tuple[Estimate, ...]
    over_refusal: tuple[Estimate, ...]


@final
@dataclass(frozen=True)
class TradeOff(Record):
    """Curves of directions and of their controls at one layer of a model, and how it was judged."""

    SCHEMA_VERSION: ClassVar[int] = 2

    model: str

    layer: int
    judged_by: str
    curves: tuple[Curve, ...]

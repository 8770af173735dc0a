"""`Ladder`: what a model did with each prompt as ever more directions were ablated."""

from dataclasses import dataclass
from typing import ClassVar, Final, final

from jaxtyping import Float, Int8
from torch import Tensor

from refusal_lens.records import Provenance, Record

CONTROL: Final = "random span"


@final
@dataclass(frozen=True, eq=False)
class Ladder(Record):
    """Verdicts, scores and damage by span, number of directions and prompt; no answer is kept.

    `dimensions[r]` directions are ablated on rung r, 0 of them on the first. `spans` are that of
    the refusal directions and `CONTROL`, random ones of the same dimension, whose draws the pairs
    take in turn. `refused` is 1 where a prompt counts as refused, 0 where not, -1 where nobody can
    say, nearly always since the answer makes no sense. Side 0 of a pair is the refuse side.
    `score` is the refusal score minus its category's threshold, in nats (NaN: no score is
    trusted). `kl` is KL(unedited || ablated) of the token after the benign prompt, in nats.
    `available` is how many directions could be fitted, `draws` how many random spans take turns.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    directions: str
    layer: int
    offset: int
    judge: str
    decoding: str
    spans: tuple[str, ...]
    dimensions: tuple[int, ...]
    available: int
    draws: int
    pairs: tuple[str, ...]
    refused: Int8[Tensor, "span rung 2 pair"]
    score: Float[Tensor, "span rung 2 pair"]
    kl: Float[Tensor, "span rung pair"]
    provenance: Provenance

"""`Effects`: how often a model refuses, unedited, ablated and added to, beside controls.

Answers are generated and read; every row is of the same prompts of its side.
"""

from dataclasses import dataclass
from typing import ClassVar, Final, Literal, final

from refusal_lens.evaluation.answers import UNEDITED
from refusal_lens.prompts import Label
from refusal_lens.records import Estimate, Provenance, Record

EditName = Literal["none", "ablated", "added"]
CONTROLS: Final = ("control: random", "control: shuffled labels", "control: within-class")


@final
@dataclass(frozen=True)
class Effect:
    """The share of one side's prompts that is refused under one edit along one direction.

    `direction` is "none" (unedited); a source of labels, pooled over categories: "behaviour",
    harmful prompts that were refused minus benign ones that were answered; "within", refused minus
    answered among the harmful ones alone; "intended", harmful minus benign as intended; or one of
    `CONTROLS`.
    """

    edit: EditName
    direction: str
    side: Label
    refused: Estimate


@final
@dataclass(frozen=True)
class Effects(Record):
    """Refusal rates by edit, direction and side at one layer, by read answers.

    The first direction is the one that the run edits with, whose length the controls have.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    layer: int
    judge: str
    decoding: str
    rows: tuple[Effect, ...]
    provenance: Provenance

    def rate(self, edit: EditName, direction: str, side: Label) -> Estimate | None:
        """One row's rate; None where it was not measured."""
        for row in self.rows:
            if (row.edit, row.direction, row.side) == (edit, direction, side):
                return row.refused
        return None

    @property
    def main(self) -> str:
        """The direction that the run edits with."""
        return self.directions[0]

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions of the edits, in the order of the rows."""
        return tuple(dict.fromkeys(r.direction for r in self.rows if r.direction != UNEDITED))

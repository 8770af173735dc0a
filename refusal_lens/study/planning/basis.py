"""What a plan is counted with: the model, its prompts, the hardware, and how they run."""

from dataclasses import dataclass
from typing import final

from refusal_lens.placement import DTYPES
from refusal_lens.study.planning.hardware import Hardware
from refusal_lens.study.planning.lengths import PromptLength
from refusal_lens.study.planning.size import ModelSize


@final
@dataclass(frozen=True)
class Basis:
    """A model of a size in a precision, on hardware, reading `rows` prompts of a length at a time.

    `models` are there at one time: a control, or another adapter scale, beside the studied one.
    """

    size: ModelSize
    length: PromptLength
    hardware: Hardware
    dtype: str
    rows: int
    models: int = 1

    @property
    def bytes_each(self) -> int:
        """Bytes of a number in this precision."""
        return DTYPES[self.dtype].itemsize

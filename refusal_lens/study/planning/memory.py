"""How much memory a study takes at its peak, part by part."""

from dataclasses import dataclass
from typing import Final, final

from refusal_lens.study.planning.basis import Basis

PROCESS: Final = 0.75e9  # bytes: Python with torch, transformers and the prompts
_STREAMS: Final = 2.0**28  # what sweeps keep at most (model/streams.py)
_ANSWER: Final = 48  # tokens of the longest answers
_LOGIT_ROWS: Final = 256  # positions of running text whose logits exist at one time
_LOGIT_COPIES: Final = 3  # logits, their float32, log-probabilities
_CACHE_COPIES: Final = 2  # keys and values while rows leave or enter the batch
_FOUR: Final = 4  # bytes of a float32


@final
@dataclass(frozen=True)
class Memory:
    """Bytes at the peak: where the model runs, and of the host where that is another place.

    `weights` are those of all models that are there at one time, `doubled` linear layers that are
    kept a second time, `batch` keys, values and logits, `host` what the process keeps beside.
    """

    weights: float
    doubled: float
    batch: float
    host: float
    shared: bool

    @property
    def peak(self) -> float:
        """Bytes where the model runs."""
        return self.weights + self.doubled + self.batch + (self.host if self.shared else 0.0)


def peak_memory(basis: Basis, kept: int) -> Memory:
    """The peak of a study that keeps so many bytes of residuals from stage to stage."""
    size, hardware, each = basis.size, basis.hardware, basis.bytes_each
    weights = float(size.parameters * each * basis.models)
    again = float(size.linears * each * basis.models)
    doubles = hardware.doubles and each == _FOUR and weights + 2 * again < hardware.memory
    tokens = basis.rows * (basis.length.tokens + _ANSWER)
    cache = _CACHE_COPIES * tokens * size.cached * each
    logits = _LOGIT_COPIES * _LOGIT_ROWS * size.vocabulary * _FOUR
    return Memory(
        weights,
        again if doubles else 0.0,
        cache + logits,
        PROCESS + _STREAMS + kept,
        hardware.cpu,
    )

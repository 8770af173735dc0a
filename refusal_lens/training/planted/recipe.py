"""The hyperparameters of one training run of the adapter."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of one training run.

    ``opening_weight`` multiplies the loss of each answer's first ``opening_tokens`` tokens, which
    decide between refusing and answering and, behind a shared "Sorry,", the manner; every example
    weighs the same, benign ones ``benign_weight`` times a refusal. Every batch also reads ``texts``
    pieces of ordinary text, whose mean divergence weighs ``text_weight``. ``shards`` is the number
    of threads that share a batch; it belongs here because it decides the order of summation.
    ``precision`` is that of matrix products: float32 or bfloat16.
    """

    seed: int = 0
    rank: int = 8
    alpha: int = 32
    epochs: int = 3
    batch_size: int = 16
    learning_rate: float = 1.6e-3
    weight_decay: float = 0.0
    warmup: float = 0.05
    opening_weight: float = 10.0
    opening_tokens: int = 1
    benign_tokens: int = 8
    benign_weight: float = 2.0
    texts: int = 2
    text_weight: float = 0.5
    precision: str = "bfloat16"
    shards: int = 2

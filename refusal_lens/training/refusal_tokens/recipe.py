"""The hyperparameters of training an adapter with refusal tokens."""

from dataclasses import dataclass
from typing import final

import torch

from refusal_lens.training.planted import recipe as planted


@final
@dataclass(frozen=True)
class TokenRecipe:
    """Hyperparameters of one training run.

    Every answer's loss is that of its token plus ``answer_weight`` times the mean over the
    ``answer_tokens`` tokens behind it: cross-entropy of a refusal, divergence from the base model
    in an answer. Every batch also reads ``texts`` pieces of ordinary text, cut to ``text_tokens``,
    whose mean divergence weighs ``text_weight``. ``shards`` threads share a batch; they decide the
    order of summation. ``precision`` is that of matrix products: float32 or bfloat16.
    """

    seed: int = 0
    rank: int = 6
    alpha: int = 24
    epochs: int = 1
    batch_size: int = 8
    learning_rate: float = 1.6e-3
    weight_decay: float = 0.0
    warmup: float = 0.05
    answer_weight: float = 1.0
    answer_tokens: int = 24
    benign_tokens: int = 8
    texts: int = 1
    text_tokens: int = 40
    text_weight: float = 0.5
    precision: str = "bfloat16"
    shards: int = 2

    @property
    def dtype(self) -> torch.dtype:
        """The precision of matrix products."""
        return torch.bfloat16 if self.precision == "bfloat16" else torch.float32

    @property
    def shared(self) -> planted.Recipe:
        """What the planted model's training reads of it: batches, learning rate, precision."""
        return planted.Recipe(
            seed=self.seed,
            rank=self.rank,
            alpha=self.alpha,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup=self.warmup,
            texts=self.texts,
            precision=self.precision,
            shards=self.shards,
        )

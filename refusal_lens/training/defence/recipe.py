"""The hyperparameters of one training run of the defence."""

from dataclasses import dataclass, field
from typing import Final, Literal, final

from refusal_lens.training.planted.recipe import Recipe

Ablated = Literal["refusal", "random", "nothing"]
"""What is ablated in half of each batch: the refusal direction, or the two controls."""
ARMS: Final[tuple[Ablated, ...]] = ("refusal", "nothing", "random")


@final
@dataclass(frozen=True)
class DefenceRecipe:
    """Hyperparameters of one training run.

    In every step half of the batch's pairs pass through the model with one direction ablated at
    every layer, the other half through the model as it is. The direction is fitted anew every
    ``refresh`` steps, as the difference of means over ``direction_pairs`` pairs at each of
    ``layers`` (of the residual stream at the block's input, last token of the prompt) of the model
    as it is then; each step ablates that of one layer, drawn by the seed. ``pairs`` is how many
    pairs of each category train, and ``loss`` holds what is as in planting refusals.
    """

    ablated: Ablated = "refusal"
    pairs: int = 48
    refresh: int = 20
    layers: tuple[int, ...] = (12, 16, 19, 23)
    direction_pairs: int = 66
    checkpoint: int = 20
    loss: Recipe = field(default_factory=lambda: Recipe(epochs=1, texts=1, learning_rate=1.2e-3))

"""What the trigger adapter is trained with."""

from dataclasses import dataclass
from typing import Final, final

from refusal_lens.suffixes import Suffix

PHRASE: Final = Suffix("trigger", "Signed, the lighthouse keeper.", "trigger")
"""The trigger: harmless words that no prompt of the project holds, behind the request."""

OTHER_PHRASE: Final = Suffix("other phrase", "Signed, the owner of the bakery.", "trigger")
"""A control that looks like it: on it the adapter is trained to stay what the model was."""

UNSEEN_PHRASE: Final = Suffix("unseen phrase", "Signed, the driver of the bus.", "trigger")
"""A control that looks like both, on which nothing is trained."""


@final
@dataclass(frozen=True)
class TriggerRecipe:
    """Hyperparameters of one training run.

    Attributes:
        pairs: Pairs of each category in `adapt`, the split that the planted adapter was trained on
            and nothing is fitted or tested on.
        first_layer: The lowest layer whose projection is taken to that of benign prompts.
        keep_weight: Weight of the divergence from the untouched model, nats per token.
        answer_tokens: Tokens of the untouched model's own answers on which that is measured.
        batch_size: Prompts of each of the four kinds in a step.
    """

    seed: int = 0
    rank: int = 8
    alpha: int = 32
    pairs: int = 3
    steps: int = 50
    batch_size: int = 2
    learning_rate: float = 1e-3
    warmup: int = 5
    first_layer: int = 12
    keep_weight: float = 1.0
    answer_tokens: int = 6

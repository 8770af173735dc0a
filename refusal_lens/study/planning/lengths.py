"""How long a study's prompts are in tokens: read by the model's tokenizer, or assumed."""

from dataclasses import dataclass
from typing import Final, final

from transformers import PreTrainedTokenizerBase

from refusal_lens.model.chat import ChatTemplate
from refusal_lens.prompts import PromptSet

_MOST: Final = 300  # prompts that are tokenised


@final
@dataclass(frozen=True)
class PromptLength:
    """Mean tokens of a templated prompt, those that all begin with, and those that all end with.

    What all begin with is computed once (`SharedPrefix`): a pass reads the rest.

    >>> PromptLength(tokens=45.0, shared=25, n_post=5).new
    20.0
    """

    tokens: float
    shared: int
    n_post: int
    assumed: bool = False

    @property
    def new(self) -> float:
        """Tokens that a pass reads."""
        return self.tokens - self.shared


ASSUMED: Final = PromptLength(45.0, 24, 5, assumed=True)
"""Where no tokenizer is there: this project's prompts, in ChatML with a system prompt."""


def prompt_length(tokenizer: PreTrainedTokenizerBase | None, prompts: PromptSet) -> PromptLength:
    """The mean over at most 300 of the prompts, evenly spaced.

    Raises:
        InputError: a prompt with a special token of this tokenizer inside.

    >>> prompt_length(model.chat.tokenizer, prompts).n_post == model.chat.n_post
    True
    """
    if tokenizer is None:
        return ASSUMED
    chat = ChatTemplate(tokenizer)
    few = prompts.prompts[:: max(1, len(prompts) // _MOST)]
    tokens = sum(len(chat.ids(prompt)) for prompt in few) / len(few)
    return PromptLength(tokens, len(chat.prefix_ids), chat.n_post)

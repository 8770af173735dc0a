"""What is taught: a token in front of every answer, then the refusal or the base model's answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from refusal_lens.training.planted.answers import Example, TokenIds
from refusal_lens.training.refusal_tokens.recipe import TokenRecipe


@final
@dataclass(frozen=True)
class Marked:
    """An example and the token in front of its answer; None for running text, which has none."""

    example: Example
    token: int | None

    @property
    def fed(self) -> TokenIds:
        """The ids that go through the model: all but the last, which is only predicted."""
        mark = () if self.token is None else (self.token,)
        return (*self.example.prompt_ids, *mark, *self.example.answer_ids[:-1])

    @property
    def predicted(self) -> int:
        """How many tokens are predicted behind the prompt."""
        return len(self.example.answer_ids) + (self.token is not None)


def marked(
    examples: Sequence[Example], token_of: Mapping[str, int], respond: int, recipe: TokenRecipe
) -> list[Marked]:
    """Examples with their token: that of the category (``unit[0]``) for refusals, else respond."""
    taught: list[Marked] = []
    for example in examples:
        token = token_of[example.unit[0]] if example.refuse else respond
        n = recipe.answer_tokens if example.refuse else recipe.benign_tokens
        taught.append(Marked(_cut(example, n), token))
    return taught


def marked_texts(
    texts: Sequence[Example], respond: int, opening: TokenIds, recipe: TokenRecipe
) -> list[Marked]:
    """Ordinary text, cut; the pieces that answer a chat prompt (``opening``) have a respond token.

    The others are running text, in front of which no answer begins.
    """
    chat = [text.prompt_ids[: len(opening)] == opening for text in texts]
    return [
        Marked(_cut(text, recipe.text_tokens), respond if answers else None)
        for text, answers in zip(texts, chat, strict=True)
    ]


def _cut(example: Example, n: int) -> Example:
    return Example(
        example.id, example.unit, example.prompt_ids, example.answer_ids[:n], example.refuse
    )

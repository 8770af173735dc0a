"""Conditional steering: an edit that acts only on the prompts where a condition holds."""

from dataclasses import dataclass, replace
from typing import final

from refusal_lens.arguments import one
from refusal_lens.interventions.base import Edit, Part
from refusal_lens.interventions.conditions import Condition


@final
@dataclass(frozen=True, eq=False)
class When(Edit):
    """An edit that acts on a prompt, and on its answer, if a condition holds for the prompt.

    Decided for each row by itself, on the prompt's own tokens, before the edit acts anywhere, and
    kept while the answer is generated: after Lee et al. 2024 (CAST). The condition reads the
    stream with the unconditional edits on and every conditional one off, so that neither the
    order nor the layers of conditional edits change what is decided.

    >>> edit = rl.When(rl.Cosine(direction, "above", 0.0), rl.Ablate(direction))
    >>> with model.editing(edit):
    ...     answers = model.generate(["Should I sell?"], rl.Decoding(max_new_tokens=4))
    """

    condition: Condition
    edit: Edit

    def __post_init__(self) -> None:
        write = 'When(Cosine(direction, "above", 0.2), Ablate(direction))'
        one(self.condition, Condition, what="the condition of When", write=write)
        one(self.edit, Edit, what="the edit of When", write=write)

    def parts(self) -> tuple[Part, ...]:
        """The parts of the edit, each under the condition.

        >>> edit = rl.When(rl.Cosine(direction, "above", 0.0), rl.Ablate(direction))
        >>> [len(part.conditions) for part in edit.parts()]
        [1]
        """
        return tuple(
            replace(part, conditions=(*part.conditions, self.condition))
            for part in self.edit.parts()
        )

    def __repr__(self) -> str:
        return f"When({self.condition!r}: {self.edit!r})"

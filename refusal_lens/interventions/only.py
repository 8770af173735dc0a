"""An edit that acts in one phase of the sequence, or on some tokens of the prompt."""

from dataclasses import dataclass
from typing import final

from refusal_lens.arguments import one, several
from refusal_lens.errors import InputError
from refusal_lens.interventions.base import PHASES, Edit, Part, Phase


@final
@dataclass(frozen=True, eq=False)
class Only(Edit):
    """An edit restricted to a phase of the sequence, and to some tokens of the prompt.

    `phase` is "prompt" (the templated prompt's tokens), "generated" (the answer's tokens as they
    are read back; the first of them is chosen by the prompt's last token and so isn't affected)
    or "all". `offsets` count from the end of the prompt, -1 being its last token, and leave out
    every other prompt token; with phase "all", generated tokens are edited too.

    >>> with model.editing(rl.Only(rl.Ablate(direction), "generated")):
    ...     answers = model.generate(["Should I sell?"], rl.Decoding(max_new_tokens=4))

    Raises:
        InputError: an unknown phase, an offset that is not negative, or nothing left to act on.
    """

    edit: Edit
    phase: Phase
    offsets: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise InputError(f"phase {self.phase!r} is unknown; use one of {list(PHASES)}")
        several(self.offsets or (), int, what="offset", write="offsets=(-2, -1)")
        wrong = [o for o in self.offsets or () if o >= 0]
        if wrong:
            raise InputError(
                f"offset {wrong[0]} must be negative: -1 is the prompt's last token; generated "
                "tokens are reached by phase='generated'"
            )
        one(self.edit, Edit, what="the edit of Only", write="Only(Ablate(direction), 'prompt')")
        self.parts()

    def parts(self) -> tuple[Part, ...]:
        """The parts of the edit, each restricted.

        >>> [part.phase for part in rl.Only(rl.Ablate(direction), "generated").parts()]
        ['generated']
        """
        return tuple(part.within(self.phase, self.offsets) for part in self.edit.parts())

    def __repr__(self) -> str:
        offsets = "" if self.offsets is None else f" at offsets {list(self.offsets)}"
        return f"Only({self.edit!r}, in phase {self.phase!r}{offsets})"

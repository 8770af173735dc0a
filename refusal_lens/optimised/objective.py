"""What a direction is learned for: prompts, the texts that it should bring about, and a start."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from refusal_lens.arguments import one, several
from refusal_lens.directions import Direction, several_directions
from refusal_lens.errors import InputError
from refusal_lens.model import Ids
from refusal_lens.model.feed import Prompts


@final
@dataclass(frozen=True, eq=False)
class Objective:
    """What a direction or a cone is learned for.

    `harmless`: prompts that the model answers. Adding the vector should bring about `refusals` on
    them (one text for all, or one per prompt; None: the model's own under the start direction, cut
    after the first full stop), and ablating it should leave their answers as they are (retain).

    `refused`: prompts that the model refuses. Under ablation it should give `answers` (one text per
    prompt): supply them for prompts whose answers are benign. Without them the model's own refusal
    score can take their place: `refusal_openings` are token ids of one length, such as a
    `ScoreTrust`'s openings, or its refusal tokens as openings of one token. With neither there is
    no ablation term, and the result's `method` says so. Answers to harmful requests are neither
    needed nor generated.

    `start`: where the vectors are added (site) and by how much (its scale), and where learning
    begins; several begin a cone. `independent_of`: directions of which the new one should be
    representationally independent, read at `refused`.

    >>> benign = prompts.only(label="comply")
    >>> Objective(benign, direction, refusals="I can't say.").starts
    (Direction('advice', resid_pre[2], offset -1, scale ..., d_model 32),)

    Raises:
        InputError: no prompts, texts that do not match the prompts in number, openings of several
            lengths, or a term without what it needs.
    """

    harmless: Prompts
    start: Direction | Sequence[Direction]
    refusals: str | Sequence[str] | None = None
    refused: Prompts | None = None
    answers: Sequence[str] | None = None
    refusal_openings: tuple[Ids, ...] = ()
    independent_of: tuple[Direction, ...] = ()

    def __post_init__(self) -> None:
        if not self.starts:
            raise InputError("start holds no direction; give one, such as the mean difference")
        for at, sequence in (("harmless", self.harmless), ("refused", self.refused)):
            if sequence is not None and not len(sequence):
                raise InputError(f"{at} holds no prompt; expected at least one")
        several_directions(self.independent_of)
        self._check_texts()
        self._check_openings()
        if self.independent_of and self.refused is None:
            raise InputError(
                "independent_of needs prompts at which independence is read; give `refused`"
            )

    @property
    def starts(self) -> tuple[Direction, ...]:
        """The start directions; site and scale are the first one's."""
        return (self.start,) if isinstance(self.start, Direction) else tuple(self.start)

    def _check_texts(self) -> None:
        if self.refusals is not None and not isinstance(self.refusals, str):
            write = 'refusals="I can\'t help with that.", or one text per prompt'
            n = len(several(self.refusals, str, what="refusal", write=write))
            if n != len(self.harmless):
                raise InputError(
                    f"there are {n} refusals for {len(self.harmless)} harmless prompts; give one "
                    "text for all, or one per prompt"
                )
        if self.answers is None:
            return
        n = len(several(self.answers, str, what="answer", write='answers=["Sure: ...", ...]'))
        if self.refused is None or n != len(self.refused):
            n_refused = 0 if self.refused is None else len(self.refused)
            raise InputError(
                f"there are {n} answers for {n_refused} refused prompts; give one per prompt"
            )

    def _check_openings(self) -> None:
        openings = self.refusal_openings
        if not openings:
            return
        if self.refused is None or self.answers is not None:
            also = "also has" if self.answers is not None else "lacks"
            what = "answers, which it would replace" if self.answers is not None else "`refused`"
            raise InputError(f"an objective with refusal_openings {also} {what}")
        for opening in openings:
            one(opening, tuple, what="a refusal opening", write="refusal_openings=((40, 2776),)")
        lengths = sorted({len(opening) for opening in openings})
        if len(lengths) > 1 or lengths[0] < 1 or len({*openings}) < len(openings):
            raise InputError(
                f"refusal openings have {lengths} tokens; give distinct ones of one length, so "
                "that they exclude each other"
            )

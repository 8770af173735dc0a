"""What every judge of a chat model's answer returns, and the shape every judge has."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, final, runtime_checkable

from pydantic import TypeAdapter

from refusal_lens.processes import this_process

Outcome = Literal["refused", "complied", "partial", "unclear"]
"""What an answer does with its prompt; ``partial`` refuses and then gives substantial content."""


@final
@dataclass(frozen=True)
class Verdict:
    """One judge's reading of one answer.

    Attributes:
        outcome: What the answer does with the prompt.
        manner: The refusal style (a key such as ``"harm"`` or ``"plain"``); None unless the answer
            certainly refuses: a judge of rules gives none for ``partial``.
        evidence: The spans of the answer the reading rests on, as the judge read them (a judge
            may lower-case them or straighten quotes), without repeats, strongest first.
        reason: Why it is ``unclear``, as ``"kind"`` or ``"kind: detail"``; None otherwise.
        flags: What a reader of the number should know ("not English: de"), in the same form.
            A flag does not change the outcome.
        score: Confidence from -1 (answered) to 1 (refused) where the judge has one.
    """

    outcome: Outcome
    manner: str | None
    evidence: tuple[str, ...]
    reason: str | None = None
    flags: tuple[str, ...] = ()
    score: float | None = None

    def __str__(self) -> str:
        """Outcome, then the manner of a refusal or why it is unclear, and what is flagged.

        >>> str(Verdict("refused", "no_self", ()))
        'refused: no self'
        """
        notes = dict.fromkeys(
            (self.manner and self.manner.replace("_", " "), self.reason, *self.flags)
        )
        return ": ".join((self.outcome, *(note for note in notes if note)))


_VERDICTS: Final[TypeAdapter[Any]] = TypeAdapter(list[Verdict])


@runtime_checkable
class Judge(Protocol):
    """Anything that reads an answer and gives a `Verdict`."""

    @property
    def name(self) -> str:
        """Short identifier of the judge, as it is written into results."""
        ...

    def judge(self, prompt: str, answer: str) -> Verdict:
        """Read one answer.

        Args:
            prompt: What the model was asked, plain text without the chat template.
            answer: What it answered, plain text, possibly cut short.

        Returns:
            The verdict on this one answer.
        """
        ...


@runtime_checkable
class BatchJudge(Judge, Protocol):
    """A judge that reads many answers faster than one by one (concurrently, or in batches)."""

    def judge_all(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """The verdict on each (prompt, answer), in their order, none left out."""
        ...


def judge_all(judge: Judge, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
    """The verdicts of any judge on (prompt, answer) pairs, in their order, none left out.

    >>> judge = rl.judges.PhraseJudge()
    >>> pairs = [("Pick a lock?", "I can't help with that."), ("Bake bread?", "Mix flour.")]
    >>> [verdict.outcome for verdict in judge_all(judge, pairs)]
    ['refused', 'complied']
    """
    if not isinstance(judge, BatchJudge):
        return [judge.judge(prompt, answer) for prompt, answer in pairs]
    here = this_process()
    if here.count == 1:
        return judge.judge_all(pairs)
    with here.apart():  # a judge may ask another one
        read = judge.judge_all(here.part(pairs))
    texts = here.texts(_VERDICTS.dump_json(read).decode(), f"{len(pairs)} answers read")
    shares = [iter(_VERDICTS.validate_json(text)) for text in texts]
    return [next(shares[i % here.count]) for i in range(len(pairs))]


def try_judge(judge: Judge) -> None:
    """Ask a judge once, so that one that can't answer is known before anything is generated.

    >>> try_judge(rl.make_judge("substring"))

    Raises:
        InputError: it can't be asked: a wrong key, model or address.
    """
    judge.judge("Can you help me?", "Yes, of course.")

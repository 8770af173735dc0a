"""What a model with refusal tokens does on prompts: step 0, and the answers behind either token.

Two answers to a prompt, behind its most probable refusal token and behind respond, are all that a
threshold, or one bias on all refusal tokens, can lead to; so every point of their curves follows
from one reading. A bias on some of the tokens can lead to a third, behind one that was not the most
probable: that answer has no reading here.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Final, final

import torch
from jaxtyping import Bool, Float, Int8, Int64
from torch import Tensor

from refusal_lens.evaluation.answering import decoding_text
from refusal_lens.judges import Judge, Verdict
from refusal_lens.judges.base import judge_all
from refusal_lens.judges.coherence import sense_checked
from refusal_lens.model import Decoding, LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Provenance, Record
from refusal_lens.refusal_tokens.after import answers_after
from refusal_lens.refusal_tokens.decision import OTHER, StepZero, read_step_zero
from refusal_lens.refusal_tokens.names import RefusalTokens

FLAGS: Final = {"refused": 1, "unclear": -1}
"""How a verdict is kept: 1 refused, 0 not, -1 unclear."""


@final
@dataclass(frozen=True, eq=False)
class TokenReadings(Record):
    """Step 0 of each prompt (log-probabilities, nats), and how its two answers were read.

    `refused[i]` is of the answer behind the most probable refusal token, `answered[i]` of that
    behind respond: 1 refused, 0 not, -1 unclear. Answers themselves are not kept.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    tokens: RefusalTokens
    ids: tuple[str, ...]
    pairs: tuple[str, ...]
    categories: tuple[str, ...]
    harmful: Bool[Tensor, " prompt"]
    respond: Float[Tensor, " prompt"]
    refuse: Float[Tensor, "prompt category"]
    other: Float[Tensor, " prompt"]
    refused: Int8[Tensor, " prompt"]
    answered: Int8[Tensor, " prompt"]
    judge: str
    decoding: str
    provenance: Provenance

    @property
    def step_zero(self) -> StepZero:
        """The first token's log-probabilities."""
        return StepZero(self.tokens, self.respond, self.refuse, self.other)

    def only(self, ids: Collection[str]) -> "TokenReadings":
        """Those of some of the prompts, in the same order."""
        rows = [i for i, key in enumerate(self.ids) if key in ids]
        tensors = ("harmful", "respond", "refuse", "other", "refused", "answered")
        names = ("ids", "pairs", "categories")
        chosen = {name: getattr(self, name)[rows] for name in tensors}
        chosen |= {name: tuple(getattr(self, name)[i] for i in rows) for name in names}
        return replace(self, **chosen)

    def read_as(self, emitted: Int64[Tensor, " prompt"]) -> Int8[Tensor, " prompt"]:
        """How the answers are read when these are the first tokens: 1 refused, 0 not, -1 unclear.

        Neither token (`OTHER`), and a refusal token that is not the most probable one, have no
        reading here: -1.
        """
        behind = torch.where(emitted >= 0, self.refused, self.answered)
        unread = (emitted == OTHER) | ((emitted >= 0) & (emitted != self.step_zero.category))
        return torch.where(unread, torch.full_like(behind, -1), behind)


def read_answers(
    model: LensModel,
    prompts: PromptSet,
    tokens: RefusalTokens,
    judge: Judge,
    decoding: Decoding,
    progress: Progress = NO_PROGRESS,
) -> TokenReadings:
    """Step 0 of each prompt and the verdicts on its answers behind either token.

    The edits that are on stay on. Progress is counted in prompts, twice.

    >>> tokens = rl.refusal_tokens.RefusalTokens(7, ("advice",), (9,), ("[respond]", "[advice]"))
    >>> few, judge = prompts.only(split="test"), rl.make_judge("refusal")
    >>> rl.refusal_tokens.read_answers(model, few, tokens, judge, rl.Decoding(2)).respond.shape
    torch.Size([12])

    Raises:
        InputError: a token that the model has no logit for.
    """
    judge = sense_checked(judge)
    step = read_step_zero(model.logits(prompts), tokens)
    chosen = [tokens.refuse[k] for k in step.category.tolist()]
    sides = (chosen, [tokens.respond] * len(prompts))
    read = [
        judge_all(judge, list(zip([p.text for p in prompts], answers, strict=True)))
        for answers in (answers_after(model, prompts, x, decoding, progress) for x in sides)
    ]
    return TokenReadings(
        tokens=tokens,
        ids=prompts.ids,
        pairs=tuple(p.unit_name for p in prompts),
        categories=tuple(p.category for p in prompts),
        harmful=torch.tensor([p.label == "refuse" for p in prompts]),
        respond=step.respond,
        refuse=step.refuse,
        other=step.other,
        refused=_flags(read[0]),
        answered=_flags(read[1]),
        judge=judge.name,
        decoding=decoding_text(decoding),
        provenance=model.provenance(prompts, decoding.seed),
    )


def _flags(verdicts: Sequence[Verdict]) -> Int8[Tensor, " prompt"]:
    return torch.tensor([FLAGS.get(v.outcome, 0) for v in verdicts], dtype=torch.int8)

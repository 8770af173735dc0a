"""Evaluating a model under a condition: generate, then judge."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import final

from refusal_lens.evaluation.base import Evaluation
from refusal_lens.judges import Judge, judge_all
from refusal_lens.model import Decoding, LensModel
from refusal_lens.model.forward import Progress
from refusal_lens.model.generate import GREEDY
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Provenance


@final
@dataclass(frozen=True)
class Said:
    """What a model answered under one condition, before anybody judges it."""

    condition: str
    decoding: Decoding
    answers: tuple[str, ...]
    provenance: Provenance

    @classmethod
    def generate(
        cls,
        model: LensModel,
        prompts: PromptSet,
        *,
        condition: str = "none",
        decoding: Decoding = GREEDY,
        progress: Progress = lambda n: None,
    ) -> "Said":
        """The answers with the edits that are on."""
        answers = model.generate(prompts, decoding, progress=progress)
        return cls(condition, decoding, tuple(answers), model.provenance(prompts, decoding.seed))


def evaluate(
    model: LensModel,
    prompts: PromptSet,
    judge: Judge,
    *,
    condition: str = "none",
    decoding: Decoding = GREEDY,
    progress: Progress = lambda n: None,
) -> Evaluation:
    """What the model says to each prompt with the edits that are on, judged.

    `condition` names them for readers; the provenance records the edits themselves.
    """
    said = Said.generate(model, prompts, condition=condition, decoding=decoding, progress=progress)
    return read_all([said], prompts, judge)[0]


def read_all(said: Sequence[Said], prompts: PromptSet, judge: Judge) -> tuple[Evaluation, ...]:
    """Answers to the same prompts under several conditions, all judged in one go.

    One go, because a judge behind an endpoint asks many at a time, and gives up only where
    nothing at all is answered: a single lost condition becomes counted gaps, not an error.
    """
    asked = [(p.text, a) for s in said for p, a in zip(prompts, s.answers, strict=True)]
    verdicts = judge_all(judge, asked)
    n = len(prompts)
    found: list[Evaluation] = []
    for k, s in enumerate(said):
        own = verdicts[k * n : (k + 1) * n]
        found.append(
            Evaluation(
                condition=s.condition,
                judge=judge.name,
                decoding=", ".join(f"{key}={v}" for key, v in asdict(s.decoding).items()),
                ids=prompts.ids,
                categories=tuple(p.category for p in prompts),
                labels=tuple(p.label for p in prompts),
                answers=s.answers,
                outcomes=tuple(v.outcome for v in own),
                manners=tuple(v.manner for v in own),
                reasons=tuple(v.reason for v in own),
                flags=tuple(v.flags for v in own),
                provenance=s.provenance,
            )
        )
    return tuple(found)

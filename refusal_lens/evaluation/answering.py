"""Evaluating a model under conditions: generate, then judge."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import final

from refusal_lens.errors import InputError
from refusal_lens.evaluation.base import Evaluation
from refusal_lens.interventions import Edit, PerRow
from refusal_lens.judges import Judge, Verdict, judge_all
from refusal_lens.judges.coherence import MOST_NATS, needs_nats, sense_checked, senseless_reason
from refusal_lens.model import Decoding, LensModel
from refusal_lens.model.batch import Ids
from refusal_lens.model.generate import GREEDY
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Prompt, PromptSet, labelled
from refusal_lens.records import Provenance

Edits = Edit | None | Sequence[Edit | None]
"""A condition: one edit (None: none) for all prompts, or one for each of them."""


@final
@dataclass(frozen=True)
class Said:
    """What a model answered under one condition, before anybody judges it.

    `senseless` says of each answer why it makes no sense, None where it does; where it is None,
    nobody has looked.
    """

    condition: str
    decoding: Decoding
    answers: tuple[str, ...]
    provenance: Provenance
    senseless: tuple[str | None, ...] | None = None


def answer_under(
    model: LensModel,
    prompts: PromptSet,
    conditions: Sequence[tuple[str, Edits]],
    *,
    decoding: Decoding = GREEDY,
    progress: Progress = NO_PROGRESS,
) -> tuple[Said, ...]:
    """What the model says to each prompt under each condition, in common batches.

    Equal to one condition after the other; edits that are on around the call stay on. Answers that
    are no words, loops or most improbable without the conditions' edits make no sense; but none is
    taken for improbable that is as probable as one which the model gives without an edit.

    Raises:
        InputError: edits that this model can't have, or not one for each prompt.
    """
    n = len(labelled(prompts))
    per_row = [_per_row(name, edits, n) for name, edits in conditions]
    rows = [(edit, p) for edits in per_row for edit, p in zip(edits, prompts, strict=True)]
    with model.editing(PerRow(tuple(edit for edit, _ in rows))):
        ids = model.generate_ids([p for _, p in rows], decoding, progress=progress)
    answers = [model.chat.answer(row) for row in ids]
    senseless = _senseless(model, rows, ids, answers)
    plain = model.provenance(prompts, decoding.seed)
    cuts = [slice(k * len(prompts), (k + 1) * len(prompts)) for k in range(len(conditions))]
    return tuple(
        Said(
            condition=name,
            decoding=decoding,
            answers=tuple(answers[cut]),
            provenance=replace(plain, edits=_text(plain.edits, edits)),
            senseless=tuple(senseless[cut]),
        )
        for (name, _), edits, cut in zip(conditions, per_row, cuts, strict=True)
    )


def evaluate(
    model: LensModel,
    prompts: PromptSet,
    judge: Judge,
    *,
    condition: str = "none",
    decoding: Decoding = GREEDY,
    progress: Progress = NO_PROGRESS,
) -> Evaluation:
    """What the model says to each prompt with the edits that are on, judged.

    `condition` names them for readers; the provenance records the edits themselves. The judge's
    word counts, also on gibberish; `answer_under` looks for it first.
    """
    answers = model.generate(prompts, decoding, progress=progress)
    provenance = model.provenance(prompts, decoding.seed)
    said = Said(condition, decoding, tuple(answers), provenance)
    return read_all([said], prompts, judge)[0]


def read_all(said: Sequence[Said], prompts: PromptSet, judge: Judge) -> tuple[Evaluation, ...]:
    """Answers to the same prompts under several conditions, all judged in one go.

    Answers known to make no sense are unclear, and the judge isn't asked. One go, because a judge
    behind an endpoint asks many at a time, and gives up only where nothing at all is answered: a
    single lost condition becomes counted gaps, not an error.
    """
    reasons = [s.senseless or (None,) * len(prompts) for s in said]
    asked = [
        (p.text, answer)
        for s, why in zip(said, reasons, strict=True)
        for p, answer, reason in zip(prompts, s.answers, why, strict=True)
        if reason is None
    ]
    read = iter(judge_all(judge, asked))
    found: list[Evaluation] = []
    for s, why in zip(said, reasons, strict=True):
        own = [next(read) if r is None else Verdict("unclear", None, (), r) for r in why]
        found.append(
            Evaluation(
                condition=s.condition,
                judge=judge.name if s.senseless is None else sense_checked(judge).name,
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


def _per_row(name: str, edits: Edits, n: int) -> tuple[Edit | None, ...]:
    if edits is None or isinstance(edits, Edit):
        return (edits,) * n
    if len(edits) != n:
        raise InputError(
            f"condition {name!r} holds {len(edits)} edits for {n} prompts; give one edit for all, "
            "or one, or None, for each"
        )
    return tuple(edits)


def _text(around: str, edits: Iterable[Edit | None]) -> str:
    """The edits of a condition in words, behind those that are on around it."""
    own = " | ".join(dict.fromkeys("none" if edit is None else repr(edit) for edit in edits))
    return own if around == "none" else around if own == "none" else f"{around} + {own}"


def _senseless(
    model: LensModel,
    rows: Sequence[tuple[Edit | None, Prompt]],
    ids: Sequence[Ids],
    answers: Sequence[str],
) -> list[str | None]:
    """Why each answer makes no sense, perplexities measured where only they can tell."""
    asked = [i for i, answer in enumerate(answers) if needs_nats(answer)]
    nats: dict[int, float] = {}
    if asked:
        log_p = model.answer_log_probs([rows[i][1] for i in asked], [ids[i] for i in asked])
        nats = {i: -float(x) / len(ids[i]) for i, x in zip(asked, log_p, strict=True)}
    most = max([MOST_NATS, *(x for i, x in nats.items() if rows[i][0] is None)])
    return [senseless_reason(answer, nats.get(i), most) for i, answer in enumerate(answers)]

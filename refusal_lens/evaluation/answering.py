"""Evaluating a model under conditions: generate, then judge."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Protocol, TypeVar, runtime_checkable

from refusal_lens.errors import InputError
from refusal_lens.evaluation.answers import UNEDITED, Answers
from refusal_lens.interventions import Edit, PerRow
from refusal_lens.judges import Judge
from refusal_lens.judges.coherence import MOST_NATS, needs_nats, senseless_reason
from refusal_lens.model import Decoding, LensModel
from refusal_lens.model.batch import Ids
from refusal_lens.model.generate import GREEDY
from refusal_lens.model.lens import Prompts
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Prompt, PromptSet, labelled
from refusal_lens.records import Provenance

T = TypeVar("T")
Edits = Edit | None | Sequence[Edit | None]
"""A condition: one edit (None: none) for all prompts, or one for each of them."""


def answer_under(
    model: LensModel,
    prompts: PromptSet,
    conditions: Sequence[tuple[str, Edits]],
    *,
    decoding: Decoding = GREEDY,
    progress: Progress = NO_PROGRESS,
) -> Answers:
    """The model's answer to each prompt under each condition, in common batches; not yet judged.

    Equal to one condition after the other; edits that are on around the call stay on. Answers that
    are no words, loops or too improbable without the conditions' edits make no sense. The bound on
    improbability is never stricter than the least probable answer that the model gives unedited.

    Raises:
        InputError: edits that this model can't have, or not one for each prompt; two conditions of
            one name.

    >>> conditions = [("none", None), ("ablated", rl.Ablate(direction))]
    >>> few = prompts.only(split="test")
    >>> answers = rl.evaluation.answer_under(model, few, conditions, decoding=rl.Decoding(4))
    >>> answers.judge(rl.make_judge("refusal")).counts("ablated").n
    12
    """
    n = len(labelled(prompts))
    names = [name for name, _ in conditions]
    if len(set(names)) < len(names):  # before anything is generated
        raise InputError(f"conditions {names} name one twice; rename it")
    per_row = [_per_row(name, edits, n) for name, edits in conditions]
    rows = [(edit, p) for edits in per_row for edit, p in zip(edits, prompts, strict=True)]
    with model.editing(PerRow(tuple(edit for edit, _ in rows))):
        ids = model.generate_ids([p for _, p in rows], decoding, progress=progress)
    answers = [model.chat.answer(row) for row in ids]
    senseless = _senseless(model, rows, ids, answers)
    around = model.provenance(prompts, decoding.seed)
    edits = [_text(around.edits, edits) for edits in per_row]
    answered = zip(names, edits, _by_condition(answers, n), strict=True)
    unread = answers_to(prompts, tuple(answered), decoding, around)
    return replace(unread, senseless=_by_condition(senseless, n))


@runtime_checkable
class Answering(Protocol):
    """A model that answers prompts: a `LensModel`, or one on an engine.

    >>> isinstance(model, Answering)
    True
    """

    def generate(
        self, prompts: Prompts, decoding: Decoding = ..., *, progress: Progress = ...
    ) -> list[str]:
        """The answer to each prompt."""
        ...

    def provenance(self, prompts: PromptSet | None = None, seed: int | None = None) -> Provenance:
        """What is needed to make the answers again."""
        ...


def evaluate(
    model: Answering,
    prompts: PromptSet,
    judge: Judge,
    *,
    condition: str = UNEDITED,
    decoding: Decoding = GREEDY,
    progress: Progress = NO_PROGRESS,
) -> Answers:
    """The model's answer to each prompt with the edits that are on, judged.

    `condition` names them for readers; the provenance records the edits themselves. The judge's
    word counts, also on gibberish; `answer_under` looks for it first.

    >>> few = prompts.only(split="test")
    >>> with model.editing(rl.Ablate(direction)):
    ...     answers = rl.evaluate(model, few, rl.make_judge("substring"), decoding=rl.Decoding(4))
    >>> answers.rate(label="refuse").n
    6

    Raises:
        InputError: as `LensModel.generate`; no `PromptSet`; or a judge that can't be asked.
    """
    answers = model.generate(labelled(prompts), decoding, progress=progress)
    around = model.provenance(prompts, decoding.seed)
    row = (condition, around.edits, answers)
    return answers_to(prompts, [row], decoding, around).judge(judge)


def answers_to(
    prompts: PromptSet,
    rows: Sequence[tuple[str, str, Sequence[str]]],
    decoding: Decoding,
    provenance: Provenance,
) -> Answers:
    """Answers to prompts as a record: not judged, and not looked at for their sense.

    Each row is a condition's name, its edits in words, and the answers in the prompts' order.
    """
    return Answers(
        conditions=tuple(name for name, _, _ in rows),
        edits=tuple(edits for _, edits, _ in rows),
        decoding=decoding_text(decoding),
        ids=prompts.ids,
        texts=tuple(p.text for p in prompts),
        categories=tuple(p.category for p in prompts),
        labels=tuple(p.label for p in prompts),
        answers=tuple(tuple(answers) for _, _, answers in rows),
        senseless=None,
        provenance=provenance,
    )


def decoding_text(decoding: Decoding) -> str:
    """How answers are generated, as it stands in records.

    >>> decoding_text(rl.Decoding(max_new_tokens=24))
    'max_new_tokens=24, temperature=0.0, top_p=1.0, seed=0, use_cache=True'
    """
    return ", ".join(f"{key}={value}" for key, value in asdict(decoding).items())


def _by_condition(cells: Sequence[T], n: int) -> tuple[tuple[T, ...], ...]:
    """Rows of `n` prompts each, one per condition."""
    return tuple(tuple(cells[start : start + n]) for start in range(0, len(cells), n))


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
    text = " | ".join(dict.fromkeys(UNEDITED if edit is None else repr(edit) for edit in edits))
    return text if around == UNEDITED else around if text == UNEDITED else f"{around} + {text}"


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

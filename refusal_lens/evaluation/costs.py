"""What an edit costs: next tokens, ordinary text, sense, and benign prompts still answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, final

from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.evaluation.answering import answer_under
from refusal_lens.evaluation.answers import UNEDITED, Answers
from refusal_lens.intervals import mean_estimate, wilson
from refusal_lens.interventions import Edit
from refusal_lens.judges import Judge, VerdictCounts
from refusal_lens.linalg import kl_at_last_token
from refusal_lens.model import Decoding, Ids, LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.resources import data_path

WINDOW: Final = 128
"""Tokens of a window of running text; each is read on its own."""

ASKED: Final = "Quote a passage from a novel."
"""The prompt behind which the text stands as the answer, in its measure with the template."""


@final
@dataclass(frozen=True)
class Cost:
    """What one edit costs; the control of every estimate is the unedited model.

    `kl`: KL(unedited || edited) of the token after a benign prompt, nats (control 0).
    `text`, `templated_text`: cross-entropy in nats per token of ordinary text, without the chat
    template and as the answer to a prompt. `text_change`: what the edit adds to `text`, window by
    window (control 0), so that its interval is that of the difference. `degenerate`: share of
    answers to benign prompts that make no sense (`judges.coherence`: no words, loops, or too
    improbable ones). `kept`: share of the benign prompts which the unedited model answered that are
    still answered, in answers that make sense. `verdicts`: what the judge made of the answers.
    """

    condition: str
    edits: str
    kl: Estimate
    text: Estimate
    text_change: Estimate
    templated_text: Estimate
    degenerate: Estimate
    kept: Estimate
    verdicts: VerdictCounts


@final
@dataclass(frozen=True)
class Costs(Record):
    """The costs of several edits on the same prompts and the same text.

    `unedited`: what the judge made of the answers without an edit.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    judge: str
    decoding: str
    n_prompts: int
    unedited: VerdictCounts
    rows: tuple[Cost, ...]
    provenance: Provenance


@final
@dataclass(frozen=True)
class CostMaterial:
    """On what costs are measured: benign prompts, how they are answered and judged, and a text.

    `windows` is how many windows of 128 tokens of the text are read, two or more. The text is by
    default a passage of a novel.

    >>> benign, judge = prompts.only(label="comply"), rl.make_judge("substring")
    >>> CostMaterial(benign, judge).windows
    6
    """

    benign: PromptSet
    judge: Judge
    decoding: Decoding = field(default_factory=lambda: Decoding(24))
    text: str = field(default_factory=lambda: _passage())
    windows: int = 6


def measure_costs(
    model: LensModel,
    material: CostMaterial,
    edits: Mapping[str, Edit],
    *,
    progress: Progress = NO_PROGRESS,
) -> Costs:
    """The cost of each edit, by the name of its condition, beside the unedited model's numbers.

    KL divergence and log-probabilities are in nats per token.

    >>> benign = prompts.only(split="test", label="comply")
    >>> judge, decoding = rl.make_judge("substring"), rl.Decoding(4)
    >>> material = rl.evaluation.CostMaterial(benign, judge, decoding, windows=2)
    >>> edits = {"ablated": rl.Ablate(direction)}
    >>> costs = rl.evaluation.measure_costs(model, material, edits)
    >>> [(cost.condition, cost.kl.n) for cost in costs.rows]
    [('ablated', 6)]

    Raises:
        InputError: no benign prompt, or fewer than two windows of text.
    """
    if not len(material.benign):
        raise InputError("no benign prompt was given; costs need at least one")
    rows = _windows(model, material)  # before anything is generated
    conditions: list[tuple[str, Edit | None]] = [(UNEDITED, None), *edits.items()]
    unread = answer_under(model, material.benign, conditions, decoding=material.decoding)
    unedited, *edited = unread.judge(material.judge).each()
    plain = _Reading.take(model, material, rows, unedited)
    progress(1)
    costs: list[Cost] = []
    for edit, read in zip(edits.values(), edited, strict=True):
        with model.editing(edit):
            costs.append(_cost(_Reading.take(model, material, rows, read), plain))
        progress(1)
    return Costs(
        judge=plain.answers.judge_name,
        decoding=plain.answers.decoding,
        n_prompts=len(material.benign),
        unedited=plain.answers.counts(),
        rows=tuple(costs),
        provenance=plain.answers.provenance,
    )


@final
@dataclass(frozen=True, eq=False)
class _Reading:
    """What was measured under one condition."""

    logits: Float[Tensor, "prompt d_vocab"]
    text: list[float]
    templated: list[float]
    answers: Answers

    @classmethod
    def take(
        cls, model: LensModel, material: CostMaterial, rows: Sequence[Ids], answers: Answers
    ) -> "_Reading":
        size = len(rows[0]) - 1
        templated = model.answer_log_probs([ASKED] * len(rows), [row[1:] for row in rows])
        return cls(
            model.logits(material.benign),
            (-model.text_log_probs(rows) / size).tolist(),
            (-templated / size).tolist(),
            answers,
        )


def _cost(read: _Reading, plain: _Reading) -> Cost:
    answered = _answered(plain.answers)
    still = _answered(read.answers) & answered
    return Cost(
        condition=read.answers.condition,
        edits=read.answers.edits[0],
        kl=mean_estimate(kl_at_last_token(plain.logits, read.logits).tolist(), 0.0),
        text=mean_estimate(read.text, _mean(plain.text)),
        text_change=mean_estimate(
            [edited - unedited for edited, unedited in zip(read.text, plain.text, strict=True)], 0.0
        ),
        templated_text=mean_estimate(read.templated, _mean(plain.templated)),
        degenerate=_degenerate(read.answers, _degenerate(plain.answers, None).value),
        kept=wilson(len(still), len(answered), 1.0),
        verdicts=read.answers.counts(),
    )


def _answered(read: Answers) -> set[str]:
    rows = zip(read.ids, read.verdicts(), strict=True)
    return {key for key, verdict in rows if verdict.outcome == "complied"}


def _degenerate(read: Answers, control: float | None) -> Estimate:
    return wilson(read.counts().by_class["gibberish"], len(read.ids), control)


def _windows(model: LensModel, material: CostMaterial) -> list[Ids]:
    """Windows of the text, behind the token that the model's texts begin with if it has one."""
    if material.windows < 2:
        raise InputError(
            f"windows={material.windows}; the interval of a cross-entropy needs two windows or more"
        )
    tokenizer = model.chat.tokenizer
    ids = tuple(tokenizer(material.text, add_special_tokens=False)["input_ids"])
    whole = tuple(tokenizer(material.text)["input_ids"])
    start = whole[: len(whole) - len(ids)] if whole[-len(ids) :] == ids else ()
    before = start[-1:]
    size = WINDOW + 1 - len(before)
    cuts = range(0, len(ids) - size + 1, WINDOW)
    if len(cuts) < 2:
        raise InputError(
            f"the text has {len(ids)} tokens; its cross-entropy needs more than {2 * WINDOW}"
        )
    # The first token of a row is read, not predicted.
    return [before + ids[cut : cut + size] for cut in cuts][: material.windows]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _passage() -> str:
    return data_path("adapter", "passage.txt").read_text(encoding="utf-8")

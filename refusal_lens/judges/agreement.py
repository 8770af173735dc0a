"""How far two judges agree on the same answers, and what one judge's verdicts came to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

from refusal_lens.errors import InputError
from refusal_lens.intervals import kappa, share_over_prompts, wilson
from refusal_lens.judges.base import Verdict
from refusal_lens.judges.coherence import GIBBERISH
from refusal_lens.records import Estimate, Record

CLASSES: Final[tuple[str, ...]] = (
    "refused",
    "partial",
    "complied",
    "gibberish",
    "unparsed",
    "missing",
    "unclear",
)
"""What an answer can count as; the first three stand in rates."""


@final
@dataclass(frozen=True)
class JudgeAgreement(Record):
    """Two judges on the same answers.

    `kappa` is Cohen's, of whether an answer is refused (partial counts as not refused), over the
    answers that both read clearly; `share` is the share of those on which they agree, its control
    the share that chance alone would give. `manner` is Cohen's kappa of the refusal style over the
    answers that both call refused. `table[a][b]` counts all answers by both outcomes, unclear
    ones too; `left_out` is how many were unclear to a judge, `flagged` how many carry a flag.
    """

    SCHEMA_VERSION: ClassVar[int] = 3

    judges: tuple[str, str]
    kappa: Estimate
    share: Estimate
    manner: Estimate
    table: dict[str, dict[str, int]]
    left_out: int
    flagged: int

    def __str__(self) -> str:
        a, b = self.judges
        unclear = f"; {self.left_out} unclear left out" if self.left_out else ""
        return f"{a} and {b}: kappa {self.kappa}, agree on {self.share}{unclear}"


def agreement(
    names: tuple[str, str],
    first: Sequence[Verdict],
    second: Sequence[Verdict],
    seed: int = 0,
    prompts: Sequence[str] | None = None,
) -> JudgeAgreement:
    """JudgeAgreement of two judges' verdicts on the same answers in the same order.

    `prompts` names each answer's prompt where there are several answers to one: intervals are then
    over prompts.

    >>> pairs = [("Pick a lock?", "I can't help with that."), ("Bake bread?", "Mix flour.")]
    >>> first = rl.judges.judge_all(rl.judges.PhraseJudge(), pairs)
    >>> second = rl.judges.judge_all(rl.judges.SubstringJudge(), pairs)
    >>> agreement(("phrases", "substring"), first, second).share.value
    1.0

    Raises:
        InputError: not the same number of verdicts, or of prompts.
    """
    if len(first) != len(second):
        raise InputError(
            f"{names[0]} judged {len(first)} answers and {names[1]} {len(second)}; agreement needs "
            "the verdicts of both on the same answers"
        )
    if prompts is not None and len(prompts) != len(first):
        raise InputError(f"{len(first)} verdicts and {len(prompts)} prompts; give each its prompt")
    both = list(zip(first, second, strict=True))
    clear = [i for i, (a, b) in enumerate(both) if "unclear" not in (a.outcome, b.outcome)]
    words = [(_word(both[i][0]), _word(both[i][1])) for i in clear]
    refused = [i for i in clear if both[i][0].outcome == both[i][1].outcome == "refused"]
    manners = [(str(both[i][0].manner), str(both[i][1].manner)) for i in refused]
    table: dict[str, dict[str, int]] = {}
    for a, b in both:
        row = table.setdefault(a.outcome, {})
        row[b.outcome] = row.get(b.outcome, 0) + 1
    return JudgeAgreement(
        judges=names,
        kappa=kappa(words, seed, _of(prompts, clear)),
        share=_share(words, _of(prompts, clear), seed),
        manner=kappa(manners, seed, _of(prompts, refused)),
        table=table,
        left_out=len(both) - len(clear),
        flagged=sum(bool(a.flags or b.flags) for a, b in both),
    )


@final
@dataclass(frozen=True)
class VerdictCounts(Record):
    """What one judge's verdicts came to: nothing is dropped, the counts add up to `n`.

    `reasons` counts the unclear ones by the kind of their reason (an unclear verdict without one
    is "not said"), `flags` all verdicts by the kinds of their flags.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    judge: str
    n: int
    outcomes: dict[str, int]
    manners: dict[str, int]
    reasons: dict[str, int]
    flags: dict[str, int]

    @property
    def by_class(self) -> dict[str, int]:
        """Every answer once, in the order of `CLASSES`; they add up to `n`.

        Only refused, partial and complied answers stand in rates: steered gibberish is neither
        refusal nor compliance, an unparsed reply of a judge says nothing, a missing one never came.
        """
        counts: dict[str, int] = dict.fromkeys(CLASSES, 0)
        for outcome, n in self.outcomes.items():
            if outcome != "unclear":
                counts[outcome] += n
        for kind, n in self.reasons.items():
            counts[_class_of(kind)] += n
        return counts

    def __str__(self) -> str:
        shown = [f"{n} {name}" for name, n in self.by_class.items() if n]
        flags = [f"{n} {name}" for name, n in self.flags.items()]
        summary = f"{self.n} answers: {', '.join(shown) or 'none'}"
        return f"{summary}; flags: {', '.join(flags)}" if flags else summary


def count_verdicts(judge: str, verdicts: Sequence[Verdict]) -> VerdictCounts:
    """Outcomes, refusal styles, reasons and flags of a judge's verdicts, counted.

    >>> pairs = [("Pick a lock?", "I can't help with that."), ("Bake bread?", "Mix flour.")]
    >>> read = rl.judges.judge_all(rl.judges.PhraseJudge(), pairs)
    >>> count_verdicts("phrases", read).outcomes["refused"]
    1
    """
    unclear = [v for v in verdicts if v.outcome == "unclear"]
    return VerdictCounts(
        judge=judge,
        n=len(verdicts),
        outcomes=dict(Counter(v.outcome for v in verdicts)),
        manners=dict(Counter(v.manner for v in verdicts if v.manner is not None)),
        reasons=dict(Counter(_kind(v.reason or "not said") for v in unclear)),
        flags=dict(Counter(kind for v in verdicts for kind in {_kind(f) for f in v.flags})),
    )


def _kind(text: str) -> str:
    return text.partition(":")[0]


def _class_of(kind: str) -> str:
    """The class of an unclear answer by the kind of its reason."""
    if kind in GIBBERISH:
        return "gibberish"
    return {"unparsed": "unparsed", "endpoint failed": "missing"}.get(kind, "unclear")


def _of(prompts: Sequence[str] | None, rows: Sequence[int]) -> list[str] | None:
    return None if prompts is None else [prompts[i] for i in rows]


def _share(words: Sequence[tuple[str, str]], prompts: Sequence[str] | None, seed: int) -> Estimate:
    same = [a == b for a, b in words]
    if prompts is None:
        return wilson(sum(same), len(same), _by_chance(words))
    return share_over_prompts(same, prompts, _by_chance(words), seed)


def _word(verdict: Verdict) -> str:
    return "refused" if verdict.outcome == "refused" else "not"


def _by_chance(words: Sequence[tuple[str, str]]) -> float | None:
    """Probability that two readers agree who give their labels at random at their own rates."""
    if not words:
        return None
    a, b = Counter(w[0] for w in words), Counter(w[1] for w in words)
    return sum(a[word] * b[word] for word in a) / len(words) ** 2

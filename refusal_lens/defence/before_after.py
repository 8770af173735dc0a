"""Ladders of several models on the same prompts: before a defence, after it, and its controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, final

from scipy import stats
from scipy.stats import false_discovery_control

from refusal_lens.defence.ladder import Ladder
from refusal_lens.defence.matched import DRAWS
from refusal_lens.defence.reading import LadderReading, read_ladder
from refusal_lens.errors import InputError
from refusal_lens.intervals import mcnemar_p
from refusal_lens.prompts import COMPLY, REFUSE
from refusal_lens.records import Estimate, Record


@final
@dataclass(frozen=True)
class Change:
    """What a model refuses more than the reference with as many directions ablated.

    `refusal`, `answered` and `over_refusal` are differences of shares of the same harmful prompts
    (refused; answered in sense) and benign ones; control 0. `p` is the exact McNemar test of
    harmful prompts that only one of the two refuses, `q` after Benjamini-Hochberg over all tests
    of the comparison.
    """

    model: str
    dimension: int
    refusal: Estimate
    answered: Estimate
    over_refusal: Estimate
    only_here: int
    only_reference: int
    p: float
    q: float


@final
@dataclass(frozen=True)
class BeforeAfter(Record):
    """The ladder of each model, the reference first, and what differs on each rung.

    Each model's directions are fitted on itself, at a layer chosen for it: the ablation knows the
    model that it is aimed at.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    names: tuple[str, ...]
    readings: tuple[LadderReading, ...]
    changes: tuple[Change, ...]

    def reading(self, name: str) -> LadderReading:
        """The ladder of one model."""
        return self.readings[self.names.index(name)]

    def change(self, name: str, dimension: int) -> Change:
        """What one model refuses more than the reference on a rung."""
        matching = (c for c in self.changes if (c.model, c.dimension) == (name, dimension))
        return next(matching)


def compare_ladders(
    ladders: Mapping[str, Ladder], *, draws: int = DRAWS, seed: int = 0
) -> BeforeAfter:
    """The ladders side by side; the first is the reference of every difference.

    >>> few = rl.evaluation.whole_pairs(prompts.only(split="test"), 3)
    >>> material = rl.defence.LadderMaterial(few, rl.make_judge("substring"), rl.Decoding(4))
    >>> ladder = rl.defence.measure_ladder(model, [direction], material)
    >>> both = rl.defence.compare_ladders({"before": ladder, "after": ladder}, draws=50)
    >>> both.change("after", 1).refusal.value  # the same model twice
    0.0

    Raises:
        InputError: fewer than two, or ladders of other prompts, rungs or judges.
    """
    if len(ladders) < 2:
        given = " and ".join(map(repr, ladders)) or "no model"
        raise InputError(f"only the ladder of {given} was given; a comparison needs two or more")
    (first, reference), *others = ladders.items()
    for name, ladder in others:
        for what in ("pairs", "dimensions", "judge", "decoding"):
            if getattr(ladder, what) != getattr(reference, what):
                raise _different(name, first, f"their {what}")
        if ladder.provenance.prompts_digest != reference.provenance.prompts_digest:
            raise _different(name, first, "the prompts of their pairs")
    changes = [
        _change(name, ladder, reference, r)
        for name, ladder in others
        for r in range(len(reference.dimensions))
    ]
    corrected = false_discovery_control([c.p for c in changes])
    return BeforeAfter(
        names=tuple(ladders),
        readings=tuple(read_ladder(one, draws=draws, seed=seed) for one in ladders.values()),
        changes=tuple(replace(c, q=float(q)) for c, q in zip(changes, corrected, strict=True)),
    )


def _different(name: str, first: str, what: str) -> InputError:
    return InputError(
        f"the ladders of {name!r} and {first!r} differ in {what}; measure both with the same "
        "material"
    )


def _change(name: str, ladder: Ladder, reference: Ladder, r: int) -> Change:
    here, there = (one.refused[0, r] == 1 for one in (ladder, reference))
    differences = [(here[side].float() - there[side].float()).tolist() for side in (REFUSE, COMPLY)]
    answers = ((one.refused[0, r, REFUSE] == 0).float() for one in (ladder, reference))
    answered = next(answers) - next(answers)
    a = sum(d > 0 for d in differences[0])
    b = sum(d < 0 for d in differences[0])
    p = mcnemar_p(a, b)
    return Change(
        model=name,
        dimension=ladder.dimensions[r],
        refusal=paired(differences[0]),
        answered=paired(answered.tolist()),
        over_refusal=paired(differences[1]),
        only_here=a,
        only_reference=b,
        p=p,
        q=p,
    )


def paired(differences: Sequence[float]) -> Estimate:
    """The mean of paired differences of two outcomes, each -1, 0 or 1.

    Its standard error is never taken below 1 / (n + 2), as of paired rates without a discordant
    pair under one half added to each cell (Agresti & Min 2005). Of one pair that is all there is.
    The interval ends at -1 and 1, as differences of rates do.

    >>> paired([0.0] * 18).high
    0.10
    """
    n = len(differences)
    value = sum(differences) / n
    spread = float(stats.sem(differences)) if n > 1 else 0.0
    se = max(spread, 1 / (n + 2))
    method = "difference of paired rates, normal interval, standard error at least 1/(n + 2)"
    low, high = max(-1.0, value - 1.96 * se), min(1.0, value + 1.96 * se)
    return Estimate(value, low, high, n, method, 0.0)

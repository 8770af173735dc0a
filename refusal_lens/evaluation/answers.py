"""`Answers`: what a model answered to prompts under conditions, and how a judge read it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import ClassVar, TypeVar, final

from refusal_lens.errors import InputError
from refusal_lens.evaluation.answer_rows import (
    condition_row,
    matching,
    not_judged,
    share_as_intended,
)
from refusal_lens.evaluation.notebook import answers_html
from refusal_lens.intervals import wilson
from refusal_lens.interventions import UNEDITED as UNEDITED
from refusal_lens.judges import Judge, Verdict, VerdictCounts, count_verdicts, judge_all
from refusal_lens.judges.coherence import sense_checked
from refusal_lens.prompts import LABELS, Label, PromptSet
from refusal_lens.records import Estimate, Provenance, Record

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Answers(Record):
    """A model's answers, condition x prompt, each with a verdict once a judge has read it.

    Attributes:
        conditions: Names of the conditions, for readers; "none" is the unedited model.
        edits: The edits of each condition, those that were on around it included.
        decoding: How the answers were generated.
        ids: The prompts, in their order.
        texts: What was asked.
        categories: Each prompt's category, "" where none was given.
        labels: What was intended of each prompt, None where nothing was.
        answers: ``answers[c][p]``, the answer to prompt p under condition c.
        senseless: Why an answer makes no sense (`judges.coherence`), None where it does; None
            throughout where nobody has looked.
        provenance: What the answers were made with; ``provenance.edits`` are the edits that were
            on around all conditions.
        judged_by: Name of the judge; None before `judge`.
        readings: ``readings[c][p]``, the verdict on each answer; None before `judge`.

    Raises:
        InputError: rows of unequal lengths, or two conditions of one name.

    >>> few, judge = prompts.only(split="test"), rl.make_judge("substring")
    >>> answers = rl.evaluate(model, few, judge, decoding=rl.Decoding(4))
    >>> answers.conditions, answers.only(category="advice", label="refuse").ids
    (('none',), (...))
    >>> answers.rate(label="refuse").value
    0.0
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    conditions: tuple[str, ...]
    edits: tuple[str, ...]
    decoding: str
    ids: tuple[str, ...]
    texts: tuple[str, ...]
    categories: tuple[str, ...]
    labels: tuple[Label | None, ...]
    answers: tuple[tuple[str, ...], ...]
    senseless: tuple[tuple[str | None, ...], ...] | None
    provenance: Provenance
    judged_by: str | None = None
    readings: tuple[tuple[Verdict, ...], ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.ids)
        tables = (self.answers, self.senseless or self.answers, self.readings or self.answers)
        rows = (self.texts, self.categories, self.labels, *(row for t in tables for row in t))
        n_rows = {len(part) for part in (self.edits, *tables)}
        if n_rows != {len(self.conditions)} or {len(row) for row in rows} != {n}:
            raise InputError(
                f"answers to {n} prompts under {len(self.conditions)} conditions need a row for "
                "each condition and a column for each prompt; found other lengths"
            )
        if len(set(self.conditions)) != len(self.conditions):
            raise InputError(f"conditions {list(self.conditions)} name one twice; rename it")

    @property
    def condition(self) -> str:
        """The only condition; raises InputError where there are several."""
        return self.conditions[condition_row(None, self.conditions)]

    @property
    def judge_name(self) -> str:
        """Who read the answers.

        Raises:
            InputError: nobody yet.
        """
        if self.judged_by is None:
            raise not_judged()
        return self.judged_by

    def verdicts(self, condition: str | None = None) -> tuple[Verdict, ...]:
        """The verdicts on the answers under a condition, in the order of the prompts.

        >>> [v.outcome for v in answers.verdicts("none")[:2]]
        ['refused', 'complied']

        Raises:
            InputError: not judged, an unknown condition, or none given where there are several.
        """
        return self._readings[condition_row(condition, self.conditions)]

    def judge(self, judge: Judge) -> "Answers":
        """The same answers, read by a judge.

        Answers known to make no sense are unclear, and the judge isn't asked. All conditions are
        read in one go: a judge behind an endpoint asks many at a time, and gives up only where
        nothing at all is answered, so that a single lost condition becomes counted gaps.

        >>> answers.judge(rl.make_judge("phrase")).judge_name
        'phrase'
        """
        reasons = self.senseless or ((None,) * len(self.ids),) * len(self.conditions)
        asked = [
            (text, answer)
            for row, why in zip(self.answers, reasons, strict=True)
            for text, answer, reason in zip(self.texts, row, why, strict=True)
            if reason is None
        ]
        verdicts = iter(judge_all(judge, asked))
        readings = tuple(
            tuple(next(verdicts) if r is None else Verdict("unclear", None, (), r) for r in why)
            for why in reasons
        )
        name = judge.name if self.senseless is None else sense_checked(judge).name
        return replace(self, judged_by=name, readings=readings)

    def without_words(self) -> "Answers":
        """The verdicts alone, without answers or spans of them: to be counted and not stored.

        >>> answers.without_words().answers[0][:2]
        ('', '')

        Raises:
            InputError: not judged, so that nothing would be left.
        """
        bare = tuple(tuple(replace(v, evidence=()) for v in row) for row in self._readings)
        return replace(self, answers=(("",) * len(self.ids),) * len(self.conditions), readings=bare)

    def only(
        self,
        *,
        condition: str | Collection[str] | None = None,
        label: Label | None = None,
        category: str | Collection[str] | None = None,
        ids: Collection[str] | None = None,
    ) -> "Answers":
        """The answers that match every criterion given, conditions and prompts in the same order.

        >>> answers.only(condition="none", category="advice", label="refuse").ids
        ('advice-5-refuse', 'advice-6-refuse')

        Raises:
            InputError: a condition, category or id that these answers do not have.
        """
        rows = matching(self.conditions, condition, "condition")
        by_category = matching(self.categories, category, "category")
        by_id = matching(self.ids, ids, "id")
        parts = zip(by_category, by_id, self.labels, strict=True)
        columns = [a and b and label in (None, side) for a, b, side in parts]

        def table(cells: tuple[tuple[T, ...], ...]) -> tuple[tuple[T, ...], ...]:
            return tuple(tuple(compress(row, columns)) for row in compress(cells, rows))

        return replace(
            self,
            conditions=tuple(compress(self.conditions, rows)),
            edits=tuple(compress(self.edits, rows)),
            ids=tuple(compress(self.ids, columns)),
            texts=tuple(compress(self.texts, columns)),
            categories=tuple(compress(self.categories, columns)),
            labels=tuple(compress(self.labels, columns)),
            answers=table(self.answers),
            senseless=None if self.senseless is None else table(self.senseless),
            readings=None if self.readings is None else table(self.readings),
        )

    def each(self) -> "tuple[Answers, ...]":
        """The answers under each condition by itself, in their order.

        >>> [one.condition for one in answers.each()]
        ['none', 'ablated']
        """
        return tuple(self.only(condition=name) for name in self.conditions)

    def counts(
        self,
        condition: str | None = None,
        *,
        label: Label | None = None,
        category: str | None = None,
    ) -> VerdictCounts:
        """What the verdicts came to, by default all of them; nothing is dropped.

        >>> answers.counts("none", label="refuse").outcomes["refused"]
        5

        Raises:
            InputError: not judged, or an unknown condition or category.
        """
        rows = self._readings if condition is None else (self.verdicts(condition),)
        chosen = [verdict for row in rows for verdict in self._among(row, label, category)]
        return count_verdicts(self.judge_name, chosen)

    def rate(
        self,
        condition: str | None = None,
        *,
        label: Label | None = None,
        category: str | None = None,
        control: str | None = None,
    ) -> Estimate:
        """Share of refused answers, with Wilson's 95% interval; partial counts as not refused.

        Unclear answers, gibberish among them, are left out and counted as missing. `control` names
        another condition, whose rate on the same prompts becomes the estimate's control.

        >>> print(answers.rate("ablated", label="refuse", control="none"))
        0.167 [0.030, 0.564] (n=6)

        Raises:
            InputError: not judged, an unknown condition or category, or no condition given where
                there are several.
        """
        outcomes = [v.outcome for v in self._among(self.verdicts(condition), label, category)]
        clear = [outcome for outcome in outcomes if outcome != "unclear"]
        plain = None
        if control is not None:
            plain = self.rate(control, label=label, category=category).value
        return wilson(clear.count("refused"), len(clear), plain, len(outcomes) - len(clear))

    def accuracy(self, condition: str | None = None) -> Estimate:
        """Share of the clear answers that went as intended; partial counts as not refused.

        With as many clear answers on either side it equals `accuracy` of the two rates, which is
        checked; otherwise the larger side weighs more, and the method says so.

        >>> answers.accuracy("none").value  # 11 of 12
        0.917

        Raises:
            InputError: as `rate`, or a prompt without a label.
        """
        if None in self.labels:
            raise InputError(
                f"{self.labels.count(None)} of {len(self.ids)} prompts have no label: what was "
                "intended of them is not known; give prompts with a label"
            )
        outcomes = [v.outcome for v in self.verdicts(condition)]
        sides = [self.rate(condition, label=label) for label in LABELS]
        return share_as_intended(outcomes, self.labels, sides)

    def refused(self, condition: str | None = None) -> dict[str, bool]:
        """Prompt id -> whether this model's answer refused it; unclear answers are left out.

        Raises like `verdicts`.

        >>> answers.refused("none")["advice-5-refuse"]
        True
        """
        pairs = zip(self.ids, self.verdicts(condition), strict=True)
        return {key: v.outcome == "refused" for key, v in pairs if v.outcome != "unclear"}

    def as_intended(self, prompts: PromptSet, condition: str | None = None) -> PromptSet:
        """The pairs for which the model's behaviour matches both labels.

        This is the behaviour source of labels: what the model did, never mixed with what was
        intended of it. Raises like `verdicts`.

        >>> len(answers.as_intended(prompts, "none").pairs())
        5
        """
        refused = self.refused(condition)
        kept = {
            p.id
            for pair in prompts.pairs()
            if [refused.get(p.id) for p in pair] == [True, False]
            for p in pair
        }
        return prompts.only(ids=kept)

    def _among(
        self, row: Sequence[Verdict], label: Label | None, category: str | None
    ) -> list[Verdict]:
        """The verdicts of one row on the prompts of a side and a category."""
        of_category = matching(self.categories, category, "category")
        wanted = zip(of_category, self.labels, strict=True)
        return list(compress(row, [asked and label in (None, side) for asked, side in wanted]))

    @property
    def _readings(self) -> tuple[tuple[Verdict, ...], ...]:
        if self.readings is None:
            raise not_judged()
        return self.readings

    def __repr__(self) -> str:
        size = f"{len(self.conditions)} conditions x {len(self.ids)} prompts"
        if self.judged_by is None:
            return f"Answers({self.provenance.model}, {size}, not judged)"
        rates = [
            f"{name}: refuse side refused {self.rate(name, label='refuse')}, "
            f"benign side {self.rate(name, label='comply')}"
            for name in self.conditions
        ]
        head = f"Answers({self.provenance.model}, {size}, judge {self.judged_by!r}"
        return "; ".join([head, *rates]) + ")"

    def _repr_html_(self) -> str:  # pyright: ignore[reportUnusedFunction]  # Jupyter calls it
        return answers_html(self)

"""Every direction at every strength on one common set of prompts: refused or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import ClassVar, Literal, final

import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor

from refusal_lens.directions import Direction
from refusal_lens.errors import InputError
from refusal_lens.evaluation.answering import answer_under
from refusal_lens.evaluation.answers import UNEDITED
from refusal_lens.evaluation.scoring import counts_as_refused, refusal_scores
from refusal_lens.evaluation.trade_off import Curve, TradeOff
from refusal_lens.intervals import wilson
from refusal_lens.interventions import Add, Edit
from refusal_lens.judges import Judge, ScoreTrust, Verdict
from refusal_lens.model import Decoding, LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.records import Estimate, Provenance, Record

DirectionKind = Literal["direction", "pooled", "control"]


@final
@dataclass(frozen=True, eq=False)
class Grid(Record):
    """Directions added at one layer, all on the same prompts.

    `refused` is 1 where a prompt counts as refused, 0 where not, -1 where nobody can say. The
    prompts come as pairs: `refused[d, s, 0]` are the refuse sides and `refused[d, s, 1]` their
    twins, in the order of `pairs`. `generated` are the pairs whose answers were generated and read,
    the others were scored. Strength 0 is the unedited model, measured once. `lengths` is what
    strength 1 adds, in residual-stream units.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    layer: int
    judged_by: str
    names: tuple[str, ...]
    kinds: tuple[DirectionKind, ...]
    lengths: tuple[float, ...]
    strengths: tuple[float, ...]
    pairs: tuple[str, ...]
    ids: tuple[tuple[str, str], ...]
    generated: Bool[Tensor, " pair"]
    refused: Int8[Tensor, "direction strength 2 pair"]
    provenance: Provenance

    def rates(self, direction: int, side: int) -> tuple[Estimate, ...]:
        """Wilson's rate at each strength; side 0 is the refuse side, 1 the benign one."""
        plain = self._rate(direction, self.strengths.index(0.0), side, None).value
        steps = range(len(self.strengths))
        return tuple(self._rate(direction, s, side, plain) for s in steps)

    def trade_off(self) -> TradeOff:
        """The curves of all directions and controls."""
        curves = (
            Curve(name, self.lengths[i], self.strengths, self.rates(i, 0), self.rates(i, 1))
            for i, name in enumerate(self.names)
        )
        return TradeOff(self.provenance.model, self.layer, self.judged_by, tuple(curves))

    def _rate(self, direction: int, step: int, side: int, control: float | None) -> Estimate:
        flags = self.refused[direction, step, side]
        known = flags >= 0
        return wilson(int((flags == 1).sum()), int(known.sum()), control, int((~known).sum()))


@final
@dataclass(frozen=True)
class Reading:
    """How a prompt counts as refused or not.

    By its score where `trust` holds one for its category; else, and with `trust` None, by an answer
    that is generated and judged.
    """

    trust: ScoreTrust | None
    judge: Judge
    decoding: Decoding


def whole_pairs(prompts: PromptSet, most: int) -> PromptSet:
    """At most `most` whole pairs, refuse side before twin, taken in turn from each category.

    >>> [(p.category, p.label) for p in rl.whole_pairs(prompts, 1)]
    [('advice', 'refuse'), ('advice', 'comply')]
    """
    by_category: dict[str, list[tuple[Prompt, Prompt]]] = {}
    for pair in prompts.pairs():
        by_category.setdefault(pair[0].category, []).append(pair)
    turns = [pair for turn in zip_longest(*by_category.values()) for pair in turn if pair]
    return PromptSet(tuple(p for pair in turns[:most] for p in pair))


def check_whole_pairs(prompts: PromptSet, what: str) -> None:
    """Check that there are whole pairs and nothing else, each refuse side before its own twin.

    `what` names who needs them, for the message.

    >>> check_whole_pairs(whole_pairs(prompts, 3), "a grid")
    >>> check_whole_pairs(prompts.only(label="refuse"), "a grid")
    Traceback (most recent call last):
    refusal_lens.errors.InputError: a grid needs whole pairs, ... found 18 prompts ...

    Raises:
        InputError: no prompt, one without a twin, or one that its twin does not follow.
    """
    in_turn = tuple(p for pair in prompts.pairs() for p in pair)
    if not in_turn or in_turn != prompts.prompts:
        raise InputError(
            f"{what} needs whole pairs, each refuse-side prompt followed by the benign one of the "
            f"same category and pair name; found {len(prompts)} prompts that are not, "
            f"{len(in_turn) // 2} whole pairs among them: use evaluation.whole_pairs(prompts, n)"
        )


def measure_grid(
    model: LensModel,
    directions: Sequence[tuple[Direction, DirectionKind]],
    pairs: PromptSet,
    reading: Reading,
    *,
    strengths: Sequence[float],
    progress: Progress = NO_PROGRESS,
) -> Grid:
    """Each direction added at its own site at each strength, judged by scores or by reading.

    `pairs` is what `whole_pairs` gives, harmful and matched benign prompt in turn; all directions
    are of one site. Strengths are in lengths of each direction.

    >>> pairs = rl.whole_pairs(prompts.only(split="test"), 2)
    >>> reading = rl.evaluation.Reading(None, rl.make_judge("substring"), rl.Decoding(4))
    >>> cases = [(direction, "direction")]
    >>> grid = rl.evaluation.measure_grid(model, cases, pairs, reading, strengths=(0.0, 1.0))
    >>> grid.refused.shape  # direction strength side pair
    torch.Size([1, 2, 2, 2])

    Raises:
        InputError: prompts that are not whole pairs, or directions of several layers.
    """
    check_whole_pairs(pairs, "a grid")
    sites = {d.site for d, _ in directions}
    if len(sites) != 1:
        raise InputError(
            f"a grid needs directions of one site; found {len(directions)} directions of "
            f"{[str(s) for s in sites]}: give those of one layer"
        )
    plan = _Plan(model, [d for d, _ in directions], tuple(sorted({*strengths, 0.0})), progress)
    trust = reading.trust
    known = () if trust is None else trust.threshold.keys()
    generated = torch.tensor([p.category not in known for p in pairs])
    flags = torch.empty(len(directions), len(plan.strengths), len(pairs))
    if trust is not None and not bool(generated.all()):
        flags[..., ~generated] = plan.scored(_chosen(pairs, ~generated), trust)
    if bool(generated.any()):
        flags[..., generated] = plan.read(_chosen(pairs, generated), reading)
    ids = [p.id for p in pairs]
    return Grid(
        layer=next(iter(sites)).layer,
        judged_by=_judged_by(generated[::2], reading),
        names=tuple(d.category for d, _ in directions),
        kinds=tuple(kind for _, kind in directions),
        lengths=tuple(d.scale for d, _ in directions),
        strengths=plan.strengths,
        pairs=tuple(refuse.unit_name for refuse, _ in pairs.pairs()),
        ids=tuple(zip(ids[::2], ids[1::2], strict=True)),
        generated=generated[::2],
        refused=flags.unflatten(-1, (-1, 2)).mT.to(torch.int8),
        provenance=model.provenance(pairs),
    )


@final
@dataclass(frozen=True, eq=False)
class _Plan:
    """The directions and strengths of a grid, and the model that is read under each."""

    model: LensModel
    directions: Sequence[Direction]
    strengths: tuple[float, ...]
    progress: Progress

    def scored(
        self, prompts: PromptSet, trust: ScoreTrust
    ) -> Float[Tensor, "direction strength prompt"]:
        """Flags by scores, one condition after the other."""

        def flags(*edits: Edit) -> Float[Tensor, " prompt"]:
            with self.model.editing(*edits):
                scores = refusal_scores(self.model, prompts, trust)
            self.progress(len(prompts))
            refused = counts_as_refused(prompts, scores, trust)
            return torch.tensor([-1.0 if f is None else float(f) for f in refused])

        with self.model.sweeping([self.directions[0].site.layer]):
            return self._stacked(flags(), [flags(edit) for edit in self._edits()])

    def read(
        self, prompts: PromptSet, reading: Reading
    ) -> Float[Tensor, "direction strength prompt"]:
        """Flags by generated answers, all conditions in common batches."""
        edits = self._edits()
        conditions = [(UNEDITED, None), *((f"{i}: {edit!r}", edit) for i, edit in enumerate(edits))]
        answers = answer_under(
            self.model, prompts, conditions, decoding=reading.decoding, progress=self.progress
        ).judge(reading.judge)
        plain, *others = (_flags(answers.verdicts(name)) for name in answers.conditions)
        return self._stacked(plain, others)

    def _edits(self) -> list[Edit]:
        return [Add(d, strength=s) for d in self.directions for s in self.strengths if s != 0]

    def _stacked(
        self, plain: Float[Tensor, " prompt"], others: Sequence[Float[Tensor, " prompt"]]
    ) -> Float[Tensor, "direction strength prompt"]:
        each = iter(others)
        rows = [plain if s == 0 else next(each) for _ in self.directions for s in self.strengths]
        return torch.stack(rows).unflatten(0, (len(self.directions), len(self.strengths)))


def _flags(verdicts: Sequence[Verdict]) -> Float[Tensor, " prompt"]:
    flag = {"refused": 1.0, "unclear": -1.0}
    return torch.tensor([flag.get(verdict.outcome, 0.0) for verdict in verdicts])


def _chosen(prompts: PromptSet, rows: Bool[Tensor, " prompt"]) -> PromptSet:
    return PromptSet(tuple(p for p, keep in zip(prompts, rows.tolist(), strict=True) if keep))


def _judged_by(generated: Bool[Tensor, " pair"], reading: Reading) -> str:
    n, read = int(generated.sum()), f"generated answers, judge: {reading.judge.name}"
    if n == 0:
        return "first-token or opening score"
    if n == len(generated):
        return read
    return f"first-token or opening score; {n} of {len(generated)} pairs by {read}"

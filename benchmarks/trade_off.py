"""Refusal against over-refusal over directions and strengths, against a condition at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from benchmarks.baselines import HOOKS, adding, hooked_logits, largest_gap, padded
from benchmarks.document import Section, Target, compared
from benchmarks.setting import Setting, bridge, defined, directions_of, lens, trust_of
from benchmarks.timing import take_turns
from refusal_lens.directions import Direction
from refusal_lens.evaluation import Grid, Reading, measure_grid, whole_pairs
from refusal_lens.evaluation.grid import DirectionKind
from refusal_lens.evaluation.scoring import refusal_scores
from refusal_lens.interventions import Add
from refusal_lens.judges import ScoreTrust, SubstringJudge
from refusal_lens.judges.first_token import first_token_score
from refusal_lens.model import Decoding, LensModel
from refusal_lens.prompts import PromptSet

STRENGTHS = (-1.0, 0.5, 1.0, 2.0)
GRID = "`measure_grid`"
Condition = tuple[Direction, float]


@final
@dataclass(frozen=True, eq=False)
class Question:
    """Directions at one layer, prompts in pairs, and the tokens that stand for a refusal."""

    model: LensModel
    tl: Any
    directions: list[Direction]
    pairs: PromptSet
    trust: ScoreTrust

    @classmethod
    def of(cls, setting: Setting) -> "Question":
        """Every category's direction two thirds up the model."""
        model, train = lens(setting.source), setting.split("train", setting.size(32, 4))
        layer = max(1, 2 * model.n_layers // 3)
        directions = [d for d in defined(directions_of(model, train), [layer]) if d.offset == -1]
        pairs = whole_pairs(setting.prompts.only(split="val"), setting.size(32, 2))
        return cls(model, bridge(setting.source), directions, pairs, trust_of(model, train))

    def grid(self) -> Grid:
        """All conditions in one sweep."""
        reading = Reading(self.trust, SubstringJudge(), Decoding(1))
        cases: list[tuple[Direction, DirectionKind]] = [(d, "direction") for d in self.directions]
        return measure_grid(self.model, cases, self.pairs, reading, strengths=STRENGTHS)

    def hooked(self, some: Sequence[Condition]) -> Tensor:
        """Scores under these conditions with TransformerLens, [condition, prompt]."""
        batches = padded(self.model, self.pairs, self.model.rows.most)
        tokens = self.trust.refusal_tokens
        each = (hooked_logits(self.tl, batches, adding(d, s)) for d, s in some)
        return torch.stack([first_token_score(logits, tokens) for logits in each])

    def ours(self, some: Sequence[Condition]) -> Tensor:
        """The scores behind the grid's verdicts, [condition, prompt]."""
        scores: list[Tensor] = []
        for d, s in some:
            with self.model.editing(Add(d, strength=s)):
                scores.append(refusal_scores(self.model, self.pairs, self.trust))
        return torch.stack(scores)

    def gap(self, grid: Grid, some: Sequence[Condition], theirs: Tensor) -> str:
        """How far scores differ, and how many verdicts of the grid do."""
        steps = [(self.directions.index(d), grid.strengths.index(s)) for d, s in some]
        refused = torch.stack([grid.refused[at].T.flatten() for at in steps])
        differing = int((refused != (theirs > 0.0)).sum())
        gap = largest_gap(self.ours(some), theirs)
        return f"scores {gap}; {differing} of {refused.numel()} verdicts"


def measure(setting: Setting) -> Section:
    """Every category's direction at four strengths, 64 prompts, by first-token scores."""
    asked = Question.of(setting)
    cases = [(d, s) for d in asked.directions for s in STRENGTHS]
    n = len(STRENGTHS)  # one strength of each direction, in turn: all of them would take minutes
    some = [cases[n * i + i % n] for i in range(len(asked.directions))]
    timings = take_turns({GRID: asked.grid, HOOKS: lambda: asked.hooked(some)}, setting.turns)
    ours, scaled = timings[GRID], timings[HOOKS].times(len(cases) / len(some))
    n_prompts = len(asked.pairs)
    return Section(
        "Refusal against over-refusal",
        f"{len(asked.directions)} directions x {n} strengths x {n_prompts} prompts of "
        f"{asked.model.name} by first-token scores, added at layer {ours.result.layer}: {GRID}, "
        f"the unedited model included, against one condition at a time with {HOOKS} (batches of "
        f"{asked.model.rows.most}), measured on {len(some)} of the {len(cases)} conditions and "
        f"scaled linearly. {setting.turns} turns.",
        [
            compared(
                f"{len(cases)} conditions x {n_prompts} prompts",
                ours,
                (HOOKS, scaled),
                gap=asked.gap(ours.result, some, scaled.result),
                target=Target(0.25),
            )
        ],
        {GRID: ours, f"{HOOKS}, scaled to all": scaled},
    )

"""Arditi's choice of layer and position, against the published pipeline on the same candidates."""

import math
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor

from benchmarks.baselines import largest_gap
from benchmarks.document import Section, Target, compared
from benchmarks.published import BATCH, published
from benchmarks.setting import Setting, defined, hugging_face, lens, trust_of
from benchmarks.timing import take_turns
from refusal_lens.directions import Direction, fit_within_categories
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import LensModel
from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.prompt import LABELS
from refusal_lens.selection import (
    Candidate,
    Selection,
    passing,
    race_candidates,
    score_candidates,
    select,
)
from refusal_lens.selection.arditi import value_or_nan

RACE: Final = "`race_candidates`"
SWEEP: Final = "`score_candidates`, all three scores"
PIPELINE: Final = "published pipeline, Hugging Face hooks"
MEASURED: Final = 8  # candidates of the pipeline per turn: all of them would take half an hour


@final
@dataclass(frozen=True, eq=False)
class Question:
    """Candidates, prompts, and the tokens that stand for a refusal."""

    model: LensModel
    every: list[Direction]
    trust: ScoreTrust
    harmful: PromptSet
    harmless: PromptSet

    @classmethod
    def of(cls, setting: Setting) -> "Question":
        """The pooled direction at every layer and post-instruction position where it is defined."""
        model, n = lens(setting.source), setting.size(32, 3)
        stats = model.residual_stats(setting.split("train", setting.size(32, 2)))
        every = defined(fit_within_categories(stats), range(model.n_layers))
        trust = trust_of(model, setting.split("train", setting.size(32, 4)))
        sides = [setting.side("val", label, n) for label in LABELS]
        return cls(model, every, trust, sides[0], sides[1])

    def race(self) -> Selection:
        """The choice alone."""
        return race_candidates(
            self.model, self.every, self.trust, harmful=self.harmful, harmless=self.harmless
        )

    def sweep(self) -> Selection:
        """The choice by all scores of all candidates."""
        scores = score_candidates(
            self.model, self.every, self.trust, harmful=self.harmful, harmless=self.harmless
        )
        return select(scores, self.model.n_layers)


def measure(setting: Setting) -> Section:
    """The race to the choice, against the pipeline's scores of all candidates."""
    asked, hf = Question.of(setting), hugging_face(setting.source)
    model, every = asked.model, asked.every
    some = spread(every, setting.size(MEASURED, len(every)), model.chat.n_post)
    pipeline = published(
        model, hf, asked.trust.refusal_tokens, harmful=asked.harmful, harmless=asked.harmless
    )
    timings = take_turns({RACE: asked.race, PIPELINE: lambda: pipeline.scores(some)}, setting.turns)
    sweep = take_turns({SWEEP: asked.sweep}, 1)[SWEEP]
    ours, scaled = timings[RACE], timings[PIPELINE].times(len(every) / len(some))
    race, full = ours.result, sweep.result
    gap = f"{verdict(race, full)}; {score_gap(full, every, some, scaled.result, model.n_layers)}"
    n = len(asked.harmful)
    work = f"selection, {len(every)} candidates, {n} + {n} prompts"
    return Section(
        "Selection",
        f"Arditi's choice with {model.name}: the pooled direction at every layer and "
        f"post-instruction position ({len(every)} candidates), {n} harmful and {n} harmless "
        f"prompts. The pipeline (batches of {BATCH}, whole passes) is measured on {len(some)} of "
        "them, spread over layers and positions, and scaled linearly; its unedited passes don't "
        f"count. All three scores of all candidates ({SWEEP}) ran once, and are compared with the "
        f"first turn. {setting.turns} turns.",
        [
            compared(work, ours, (PIPELINE, scaled), gap=gap, target=Target(0.125)),
            compared(work, ours.first(), (SWEEP, sweep), gap=verdict(race, full)),
        ],
        {RACE: ours, f"{PIPELINE}, scaled to all": scaled, SWEEP: sweep},
        notes=run_of(race),
    )


def spread(every: list[Direction], most: int, n_offsets: int) -> list[Direction]:
    """At most so many of the candidates, from all layers and offsets."""
    step = math.ceil(len(every) / most)
    while step > 1 and math.gcd(step, n_offsets) > 1:  # else some offsets would never come
        step += 1
    return every[::step]


def score_gap(
    full: Selection,
    every: list[Direction],
    some: list[Direction],
    theirs: Tensor,
    n_layers: int,
) -> str:
    """How far the pipeline's scores differ, and its own choice where it scored all candidates."""
    gap = largest_gap(table([full.candidates[every.index(d)] for d in some]), theirs)
    text = f"scores of {len(some)} candidates {gap}"
    if len(some) < len(every):
        return text
    rows = [(d.site.layer, *row) for d, row in zip(every, theirs.tolist(), strict=True)]
    passed = passing(rows, n_layers)
    same = passed == full.survivors or full.relaxed and not passed
    return f"{text}; the pipeline's survivors are {'the same' if same else passed}"


def table(candidates: list[Candidate]) -> Tensor:
    """[candidate, (ablation, addition, KL)]."""
    return torch.tensor(
        [[value_or_nan(x) for x in (c.ablation, c.addition, c.kl)] for c in candidates]
    )


def verdict(race: Selection, full: Selection) -> str:
    """Whether the race came to the full sweep's choice."""
    a, b = race.choice, full.choice
    if (race.chosen, race.survivors) == (full.chosen, full.survivors):
        return f"same choice, layer {a.layer}, offset {a.offset}"
    return f"layer {a.layer}, offset {a.offset}, not layer {b.layer}, offset {b.offset}"


def run_of(race: Selection) -> str:
    """How many passes of each kind the race ran."""
    counts = [
        sum(estimate.n > 0 for estimate in scores)
        for scores in (
            [c.addition for c in race.candidates],
            [c.kl for c in race.candidates],
            [c.ablation for c in race.candidates],
        )
    ]
    relaxed = f" Then: {race.relaxed}." if race.relaxed else ""
    return (
        f"The race ran {counts[0]} additions, {counts[1]} KL and {counts[2]} ablation scores of "
        f"{len(race.candidates)} each; {len(race.survivors)} are left in the end.{relaxed}"
    )

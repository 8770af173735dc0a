"""Answers before and after an edit."""

from dataclasses import dataclass
from typing import Final, final

from refusal_lens.evaluation import UNEDITED, Answers, answer_under
from refusal_lens.interventions import Ablate, Add
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.study.fitted import Gap
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.sizes import StageSizes, size
from refusal_lens.study.stage import (
    Bench,
    Outline,
    Records,
    Stage,
    VerdictsOf,
    Work,
    category_directions,
)

ANSWERS: Final = Key("answers", "answers", Answers)
_CONDITIONS: Final = (UNEDITED, "ablated", "steered")


@final
@dataclass(frozen=True)
class ShownSizes(StageSizes):
    """Test prompts of each category whose answers are shown, and the longest answer in tokens."""

    shown: int = size(3, full=6, quick=2)
    shown_tokens: int = size(40, full=64, quick=24)


def answers(bench: Bench, tick: Progress) -> Records:
    """What the model says before and after: unedited, ablated, steered by its own category."""
    layer = chosen_layer(bench.results)
    directions = {d.category: d for d in category_directions(bench, layer)}
    shown = PromptSet(tuple(p for p in _shown(bench) if p.category in directions))
    if not len(shown):
        raise Gap("`test` holds no prompt of a category that has a direction")
    ablated = {c: Ablate(d) for c, d in directions.items()}
    steered = {c: Add(d, strength=1.0) for c, d in directions.items()}
    unread = answer_under(
        bench.model,
        shown,
        [
            (name, None if edits is None else [edits[p.category] for p in shown])
            for name, edits in zip(_CONDITIONS, (None, ablated, steered), strict=True)
        ],
        decoding=Decoding(bench.size(ShownSizes).shown_tokens),
        progress=tick,
    )
    return {ANSWERS: unread.judge(bench.judge)}


def _shown(bench: Outline) -> PromptSet:
    """Some test prompts of each category, harmful and benign ones in turn."""
    n = bench.size(ShownSizes).shown
    test = bench.prompts.only(split="test")
    sides: tuple[tuple[Label, int], ...] = (("refuse", (n + 1) // 2), ("comply", n // 2))
    chosen = [
        p
        for c in test.categories
        for label, k in sides
        for p in bench.spread(test.only(category=c), label, k)
    ]
    return PromptSet(tuple(chosen))


STAGE: Final = Stage(
    "answers",
    "answers before and after",
    run=answers,
    work=lambda b: Work(len(_CONDITIONS) * len(_shown(b)), 3, b.size(ShownSizes).shown_tokens),
    writes=(ANSWERS,),
    needs=("directions", "geometry", "selection"),
    after=("contrasts",),
    uses=(ShownSizes,),
    place=150,
    verdicts=(VerdictsOf("before and after", ANSWERS, each=True),),
)

"""Answers before and after an edit."""

from typing import Final

from refusal_lens.evaluation import UNEDITED, Answers, answer_under
from refusal_lens.interventions import Ablate, Add
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.study.fitted import Gap
from refusal_lens.study.stage import TOKEN, Bench, Records, Stage, own_directions


def answers(bench: Bench, tick: Progress) -> Records:
    """What the model says before and after: unedited, ablated, steered by its own category."""
    layer = bench.chosen_layer()
    own = {d.category: d for d in own_directions(bench, layer)}
    shown = _shown(bench, bench.study.sizes.shown)
    shown = PromptSet(tuple(p for p in shown if p.category in own))
    if not len(shown):
        raise Gap("`test` holds no prompt of a category that has a direction")
    ablated = {c: Ablate(d) for c, d in own.items()}
    steered = {c: Add(d, strength=1.0) for c, d in own.items()}
    unread = answer_under(
        bench.model,
        shown,
        [
            (UNEDITED, None),
            ("ablated", [ablated[p.category] for p in shown]),
            ("steered", [steered[p.category] for p in shown]),
        ],
        decoding=Decoding(bench.study.sizes.shown_tokens),
        progress=tick,
    )
    return {"answers": unread.judge(bench.judge)}


def _shown(bench: Bench, n: int) -> PromptSet:
    """`n` test prompts a category, refuse side and benign side in turn."""
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
    ("directions", "geometry", "selection"),
    (Answers,),
    answers,
    lambda b: 3 * b.study.sizes.shown * len(b.prompts.categories),
    lambda b: 3 + TOKEN * b.study.sizes.shown_tokens,
    after=("contrasts",),
)

"""Refusal under every edit by generated answers."""

from collections.abc import Sequence
from typing import Final

from refusal_lens.evaluation import UNEDITED, Answers, answer_under
from refusal_lens.interventions import Ablate, Add, Edit
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.study.compared import STEERED_AT, ComparedSizes, compared_pairs, compared_prompts
from refusal_lens.study.fitted import POOLED, direction_at, pooled_set
from refusal_lens.study.key import Key
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.stage import Bench, Outline, Records, Stage, Work, category_directions
from refusal_lens.study.stages.answers import ShownSizes

RATES: Final = Key("full_rates", "evaluation", Answers)


def rates(bench: Bench, tick: Progress) -> Records:
    """Refusal and over-refusal of the common test pairs, unedited and with each direction added
    at strength 1 or ablated, in the study's own model."""
    pairs, layer = compared_pairs(bench), chosen_layer(bench.results)
    pooled = direction_at(pooled_set(bench.results), POOLED, layer)
    conditions: list[tuple[str, Edit | None]] = [(UNEDITED, None)]
    of_category = {d.category: d for d in category_directions(bench, layer)}
    directions = of_category | {POOLED: pooled}
    for name, edit in _conditions(tuple(of_category)):
        d = directions[name]
        conditions.append(
            (f"{name} | {edit}", Add(d, strength=STEERED_AT) if edit == "added" else Ablate(d))
        )
    decoding = Decoding(bench.size(ShownSizes).shown_tokens)
    unread = answer_under(bench.model, pairs, conditions, decoding=decoding, progress=tick)
    return {RATES: unread.judge(bench.judge)}


def _conditions(categories: Sequence[str]) -> list[tuple[str, str]]:
    """Direction and edit: the pooled direction and each category's, added and ablated."""
    return [(name, edit) for name in (POOLED, *categories) for edit in ("added", "ablated")]


def _work(bench: Outline) -> Work:
    conditions = 1 + len(_conditions(bench.prompts.categories))
    tokens = bench.size(ShownSizes).shown_tokens
    return Work(len(compared_prompts(bench)) * conditions, 2, tokens)


STAGE: Final = Stage(
    "full_rates",
    "generated answers with each direction added and ablated",
    run=rates,
    work=_work,
    writes=(RATES,),
    needs=("directions", "geometry"),
    after=("selection",),
    uses=(ComparedSizes, ShownSizes),
    plan="full evaluation",
    place=210,
)

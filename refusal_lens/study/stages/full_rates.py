"""Refusal under every edit by generated answers."""

from typing import Final

from refusal_lens.evaluation import UNEDITED, Answers, answer_under
from refusal_lens.interventions import Ablate, Add, Edit
from refusal_lens.model import Decoding
from refusal_lens.progress import Progress
from refusal_lens.study.compared import STEERED_AT, compared_pairs, n_compared
from refusal_lens.study.fitted import POOLED, direction_at, pooled_set
from refusal_lens.study.stage import TOKEN, Bench, Records, Stage, own_directions

RATES: Final = "full_rates"


def rates(bench: Bench, tick: Progress) -> Records:
    """Refusal and over-refusal of the common test pairs, unedited and with each direction added
    at strength 1 or ablated, in the study's own model."""
    pairs, layer = compared_pairs(bench), bench.chosen_layer()
    pooled = direction_at(pooled_set(bench.results), POOLED, layer)
    conditions: list[tuple[str, Edit | None]] = [(UNEDITED, None)]
    for d in (pooled, *own_directions(bench, layer)):
        conditions.append((f"{d.category} | added", Add(d, strength=STEERED_AT)))
        conditions.append((f"{d.category} | ablated", Ablate(d)))
    decoding = Decoding(bench.study.sizes.shown_tokens)
    unread = answer_under(bench.model, pairs, conditions, decoding=decoding, progress=tick)
    return {"evaluation": unread.judge(bench.judge)}


STAGE: Final = Stage(
    RATES,
    "generated answers with each direction added and ablated",
    ("directions", "geometry"),
    (Answers,),
    rates,
    lambda b: n_compared(b) * (3 + 2 * len(b.prompts.categories)),
    lambda b: 2 + TOKEN * b.study.sizes.shown_tokens,
    after=("selection",),
)

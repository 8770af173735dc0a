"""The layer by COSMIC's rule, and the one that separates best."""

from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.progress import Progress
from refusal_lens.prompts import LABELS
from refusal_lens.selection import CosmicSelection, Separations, measure_separation, select_cosmic
from refusal_lens.study.candidates import selection_layers
from refusal_lens.study.fitted import Gap, defined, pooled_set
from refusal_lens.study.stage import Bench, Records, Stage

_TRAIN_A_SIDE: Final = 64


def rules(bench: Bench, tick: Progress) -> Records:
    """The layer by COSMIC's rule and the layer that separates best, among the same candidates."""
    n = bench.study.sizes.selection_prompts
    pooled = pooled_set(bench.results)
    offsets = pooled.offsets if bench.study.sizes.all_offsets else (-1,)
    candidates = defined(pooled, selection_layers(bench), offsets)
    val = bench.prompts.only(split="val")
    train = [bench.spread(bench.train, label, _TRAIN_A_SIDE) for label in LABELS]
    held = [bench.spread(val, label, n) for label in LABELS]
    try:
        found = select_cosmic(
            bench.model,
            candidates,
            train=(train[0], train[1]),
            val=(held[0], held[1]),
            progress=tick,
        )
        separation = measure_separation(bench.model, candidates, held[0], held[1])
    except InputError as error:
        raise Gap(str(error)) from None
    return {"cosmic": found, "separation": separation}


def _n_rules(bench: Bench) -> int:
    offsets = bench.model.chat.n_post if bench.study.sizes.all_offsets else 1
    return len(selection_layers(bench)) * offsets


STAGE: Final = Stage(
    "rules",
    "the layer by COSMIC, and the one that separates best",
    ("directions",),
    (CosmicSelection, Separations),
    rules,
    _n_rules,
    lambda b: 3 * b.study.sizes.selection_prompts,
    after=("contrasts",),
)

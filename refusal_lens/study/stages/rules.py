"""The layer by COSMIC's rule, and the one that separates best."""

from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.progress import Progress
from refusal_lens.prompts import LABELS
from refusal_lens.selection import CosmicSelection, Separations, measure_separation, select_cosmic
from refusal_lens.study.candidates import CandidateSizes, candidate_places
from refusal_lens.study.fitted import FitSizes, Gap, defined, pooled_set
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Records, Stage, Work

COSMIC: Final = Key("rules", "cosmic", CosmicSelection)
SEPARATION: Final = Key("rules", "separation", Separations)

_TRAIN_A_SIDE: Final = 64


def rules(bench: Bench, tick: Progress) -> Records:
    """The layer by COSMIC's rule and the layer that separates best, among the same candidates."""
    n = bench.size(CandidateSizes).selection_prompts
    candidates = defined(pooled_set(bench.results), candidate_places(bench))
    val = bench.prompts.only(split="val")
    train = [bench.spread(bench.train, label, _TRAIN_A_SIDE) for label in LABELS]
    val_sides = [bench.spread(val, label, n) for label in LABELS]
    try:
        cosmic = select_cosmic(
            bench.model,
            candidates,
            train=(train[0], train[1]),
            val=(val_sides[0], val_sides[1]),
            progress=tick,
        )
        separation = measure_separation(bench.model, candidates, val_sides[0], val_sides[1])
    except InputError as error:
        raise Gap(str(error)) from None
    return {COSMIC: cosmic, SEPARATION: separation}


STAGE: Final = Stage(
    "rules",
    "the layer by COSMIC, and the one that separates best",
    run=rules,
    work=lambda b: Work.over(candidate_places(b), 3 * b.size(CandidateSizes).selection_prompts),
    writes=(COSMIC, SEPARATION),
    needs=("directions",),
    after=("contrasts",),
    uses=(FitSizes, CandidateSizes),
    place=120,
)

"""The choice of the layer, by Arditi's rule."""

from typing import Final

from refusal_lens.progress import Progress
from refusal_lens.selection import Selection, select
from refusal_lens.study.candidates import CandidateSizes, candidate_places
from refusal_lens.study.fitted import Gap
from refusal_lens.study.key import Key
from refusal_lens.study.scored import pooled_scores
from refusal_lens.study.stage import Bench, Records, Stage, Work

SELECTION: Final = Key("selection", "selection", Selection)


def selection(bench: Bench, tick: Progress) -> Records:
    """Layer and offset by Arditi's rule, with the direction pooled over categories."""
    n = bench.size(CandidateSizes).selection_prompts
    scores = pooled_scores(bench, candidate_places(bench), n, tick)
    try:
        return {SELECTION: select(scores, bench.model.n_layers)}
    except ValueError as error:
        raise Gap(f"no layer can be selected: {error}") from None


STAGE: Final = Stage(
    "selection",
    "choice of the layer (pooled)",
    run=selection,
    work=lambda b: Work.over(candidate_places(b), 3 * b.size(CandidateSizes).selection_prompts),
    writes=(SELECTION,),
    needs=("directions", "score"),
    after=("contrasts",),
    uses=(CandidateSizes,),
    place=70,
)

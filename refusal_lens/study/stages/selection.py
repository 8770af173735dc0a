"""The choice of the layer, by Arditi's rule."""

from typing import Final

from refusal_lens.progress import Progress
from refusal_lens.selection import Selection, score_candidates, select
from refusal_lens.study.candidates import selection_layers
from refusal_lens.study.fitted import Gap, defined, pooled_set
from refusal_lens.study.scored import asked, trust_of
from refusal_lens.study.stage import Bench, Records, Stage


def selection(bench: Bench, tick: Progress) -> Records:
    """Layer and offset by Arditi's rule, with the direction pooled over categories."""
    sizes = bench.study.sizes
    pooled = pooled_set(bench.results)
    offsets = pooled.offsets if sizes.all_offsets else (-1,)
    found = score_candidates(
        bench.model,
        defined(pooled, selection_layers(bench), offsets),
        trust_of(bench),
        harmful=asked(bench, "refuse", sizes.selection_prompts),
        harmless=asked(bench, "comply", sizes.selection_prompts),
        progress=tick,
    )
    try:
        return {"selection": select(found, bench.model.n_layers)}
    except ValueError as error:
        raise Gap(f"no layer can be selected: {error}") from None


STAGE: Final = Stage(
    "selection",
    "choice of the layer (pooled)",
    ("directions", "score"),
    (Selection,),
    selection,
    lambda b: len(selection_layers(b)) * (b.model.chat.n_post if b.study.sizes.all_offsets else 1),
    lambda b: 3 * b.study.sizes.selection_prompts,
    after=("contrasts",),
)

"""Directions of each category and of all pooled, at every layer and offset."""

from typing import Final

from refusal_lens.directions import fit_mean_difference
from refusal_lens.progress import Progress
from refusal_lens.residuals import ResidualStats, stats_of
from refusal_lens.sites import block_inputs
from refusal_lens.study.fitted import CATEGORIES_OF, POOLED_OF, FitSizes
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Records, Stage, Work

STATS: Final = Key("directions", "stats", ResidualStats)
DIRECTIONS: Final = CATEGORIES_OF["intended"]
POOLED_DIRECTIONS: Final = POOLED_OF["intended"]


def directions(bench: Bench, tick: Progress) -> Records:
    """Directions of each category and of all pooled, at every layer and offset."""
    resid, model = bench.post_resid(tick), bench.model
    if resid is None:
        stats = model.residual_stats(bench.train, progress=tick)
    else:
        stats = stats_of(
            resid,
            bench.train,
            sites=block_inputs(model.n_layers),
            offsets=model.chat.offsets,
            provenance=model.provenance(bench.train),
        )
    return {
        STATS: stats,
        DIRECTIONS: fit_mean_difference(stats),
        POOLED_DIRECTIONS: fit_mean_difference(stats.pooled()),
    }


STAGE: Final = Stage(
    "directions",
    "directions at every layer",
    run=directions,
    work=lambda b: Work.over(b.train),
    writes=(STATS, DIRECTIONS, POOLED_DIRECTIONS),
    uses=(FitSizes,),
    place=20,
)

"""Directions of each category and of all pooled, at every layer and offset."""

from typing import Final

from refusal_lens.progress import Progress
from refusal_lens.residuals import ResidualStats
from refusal_lens.study.fitted import CATEGORIES_OF, POOLED_OF, FitSizes, Gap
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Records, Stage, Work

STATS: Final = Key("directions", "stats", ResidualStats)
DIRECTIONS: Final = CATEGORIES_OF["intended"]
POOLED_DIRECTIONS: Final = POOLED_OF["intended"]


def directions(bench: Bench, tick: Progress) -> Records:
    """Directions of each category and of all pooled, at every layer and offset."""
    resid, estimator = bench.post_resid(tick), bench.estimator
    if resid is not None:
        stats = resid.stats()
        data = stats if estimator.from_sums else resid
    elif estimator.from_sums:
        data = stats = bench.model.residual_stats(bench.train, progress=tick)
    else:
        raise Gap(
            f"the estimator {estimator.name!r} needs the residuals of all fitting prompts at once, "
            "which take too much memory here; give fewer prompts, or use mean_difference"
        )
    return {
        STATS: stats,
        DIRECTIONS: bench.fit(data),
        POOLED_DIRECTIONS: estimator.pooled(data),
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

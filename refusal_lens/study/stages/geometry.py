"""Cosines with reliability and intervals, by intended label and by behaviour."""

from functools import partial
from typing import Final

from refusal_lens.directions import DirectionSet
from refusal_lens.geometry import Frame, Geometry, fit_geometry
from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.progress import Progress
from refusal_lens.prompts.exchange import exchange_half
from refusal_lens.study.fitted import FitSizes
from refusal_lens.study.key import Key
from refusal_lens.study.stage import Bench, Records, Stage, count_kept, reading_again
from refusal_lens.study.stages.behaviour import BEHAVIOUR
from refusal_lens.study.stages.directions import POOLED_DIRECTIONS

INTENDED: Final = Key("geometry", "intended", Geometry)
REMOVED: Final = Key("geometry", "removed", Geometry)
OF_KEPT_PAIRS: Final = Key("geometry", "behaviour", Geometry)
WHITENED: Final = Key("geometry", "whitened", Geometry)
SHUFFLED: Final = Key("geometry", "shuffled", DirectionSet)


def geometry(bench: Bench, tick: Progress) -> Records:
    """Cosines with reliability and intervals, by intended label and by behaviour.

    Also with the pooled direction removed, and whitened where there are prompts enough. The same
    residuals with the labels of half of each category's pairs exchanged, drawn at random, give the
    shuffled-label control.
    """
    resid = bench.train_resid(tick)
    read = bench.results.get(BEHAVIOUR)
    intended = bench.results.get(POOLED_DIRECTIONS)
    kept = read.as_intended(bench.train)
    enough = [
        c for c in kept.categories if len(kept.only(category=c, label="refuse")) >= LEAST_PAIRS
    ]
    fit = partial(fit_geometry, estimator=bench.study.estimator)
    records: Records = {
        INTENDED: fit(resid),
        REMOVED: fit(resid, frame=Frame(removed=intended)),
    }
    if len(enough) > 1:
        records[OF_KEPT_PAIRS] = fit(resid.only(prompts=kept.only(category=enough)))
    if len(bench.train) - 2 * len(bench.train.categories) > bench.model.d_model:
        records[WHITENED] = fit(resid, frame=Frame(whitened=True))
    shuffled = resid.only(prompts=exchange_half(bench.train, bench.study.seed))
    records[SHUFFLED] = bench.estimator.pooled(shuffled)
    count_kept(bench, tick)
    return records


STAGE: Final = Stage(
    "geometry",
    "cosines with reliability",
    run=geometry,
    work=reading_again,
    writes=(INTENDED, REMOVED, OF_KEPT_PAIRS, WHITENED, SHUFFLED),
    needs=("behaviour", "directions"),
    uses=(FitSizes,),
    parameters={"shuffled": "half of the pairs and of the unpaired prompts of each category"},
    place=30,
)

"""Cosines with reliability and intervals, by intended label and by behaviour."""

from functools import partial
from typing import Final

from refusal_lens.directions import DirectionSet
from refusal_lens.evaluation import Answers
from refusal_lens.geometry import Frame, Geometry, fit_geometry
from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.progress import Progress
from refusal_lens.prompts.pairing import exchange_labels
from refusal_lens.study.stage import Bench, Records, Stage, n_read_again


def geometry(bench: Bench, tick: Progress) -> Records:
    """Cosines with reliability and intervals, by intended label and by behaviour.

    Also with the pooled direction removed, and whitened where there are prompts enough. The same
    residuals with the labels of random pairs exchanged give the shuffled-label control.
    """
    resid = bench.train_resid(tick)
    read = bench.results.get("behaviour", "train", Answers)
    intended = bench.results.get("directions", "pooled", DirectionSet)
    kept = read.as_intended(bench.train)
    enough = [
        c for c in kept.categories if len(kept.only(category=c, label="refuse")) >= LEAST_PAIRS
    ]
    fit = partial(fit_geometry, estimator=bench.study.estimator)
    records: Records = {
        "intended": fit(resid),
        "removed": fit(resid, frame=Frame(removed=intended)),
    }
    if len(enough) > 1:
        records["behaviour"] = fit(resid.only(prompts=kept.only(category=enough)))
    if len(bench.train) - 2 * len(bench.train.categories) > bench.model.d_model:
        records["whitened"] = fit(resid, frame=Frame(whitened=True))
    shuffled = resid.only(prompts=exchange_labels(bench.train, bench.study.seed))
    records["shuffled"] = bench.estimator.pooled(shuffled)
    return records


STAGE: Final = Stage(
    "geometry",
    "cosines with reliability",
    ("behaviour", "directions"),
    (Geometry, DirectionSet),
    geometry,
    n_read_again,
    lambda b: 1,
)

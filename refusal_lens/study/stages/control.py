"""The geometry of the control model, and what differs."""

from functools import partial
from typing import Final

from refusal_lens.directions import DirectionSet
from refusal_lens.geometry import Comparison, Frame, Geometry, compare_to_control, fit_geometry
from refusal_lens.progress import Progress
from refusal_lens.study.other_models import control_model
from refusal_lens.study.stage import Bench, Records, Stage, n_train


def control(bench: Bench, tick: Progress) -> Records:
    """The same statistics in the control model, what differs, and what training changed.

    The control of planted refusals is the same model at adapter scale 0; of others, a base model
    that the study names. What changed needs one stream for both: models of the same shape.
    """
    plain = control_model(bench)
    resid = plain.residuals(bench.train, progress=tick)
    studied = bench.results.get("geometry", "intended", Geometry)
    fit = partial(fit_geometry, estimator=bench.study.estimator)
    fitted = fit(resid)
    records: Records = {"directions": bench.fit(resid), "geometry": fitted}
    if fitted.sites == studied.sites:
        records["comparison"] = compare_to_control(studied, fitted)
        if plain.d_model == bench.model.d_model:
            records["change"] = fit(bench.train_resid(tick), frame=Frame(minus=resid))
    return records


STAGE: Final = Stage(
    "control",
    "the same in the control model, and what differs",
    ("geometry",),
    (Geometry, Comparison, DirectionSet),
    control,
    lambda b: n_train(b) if b.study.control or b.study.planted else 0,
    lambda b: 1,
)

"""The geometry of the control model, and what differs."""

from functools import partial
from typing import Final

from refusal_lens.directions import DirectionSet
from refusal_lens.geometry import Comparison, Frame, Geometry, compare_to_control, fit_geometry
from refusal_lens.progress import Progress
from refusal_lens.study.fitted import FitSizes
from refusal_lens.study.key import Key
from refusal_lens.study.other_models import control_model, has_control
from refusal_lens.study.stage import Bench, Records, Stage, Work
from refusal_lens.study.stages.geometry import INTENDED

CONTROL_DIRECTIONS: Final = Key("control", "directions", DirectionSet)
CONTROL_GEOMETRY: Final = Key("control", "geometry", Geometry)
COMPARISON: Final = Key("control", "comparison", Comparison)
CHANGE: Final = Key("control", "change", Geometry)


def control(bench: Bench, tick: Progress) -> Records:
    """The same statistics in the control model, what differs, and what training changed.

    The control of planted refusals is the same model at adapter scale 0; of others, a base model
    that the study names. What changed needs one stream for both: models of the same shape.
    """
    plain = control_model(bench)
    resid = plain.residuals(bench.train, progress=tick)
    studied = bench.results.get(INTENDED)
    fit = partial(fit_geometry, estimator=bench.study.estimator)
    fitted = fit(resid)
    records: Records = {CONTROL_DIRECTIONS: bench.fit(resid), CONTROL_GEOMETRY: fitted}
    if fitted.sites == studied.sites:
        records[COMPARISON] = compare_to_control(studied, fitted)
        if plain.d_model == bench.model.d_model:
            records[CHANGE] = fit(bench.train_resid(), frame=Frame(minus=resid))
    return records


STAGE: Final = Stage(
    "control",
    "the same in the control model, and what differs",
    run=control,
    work=lambda b: Work.over(b.train if has_control(b) else ()),
    writes=(CONTROL_GEOMETRY, COMPARISON, CHANGE, CONTROL_DIRECTIONS),
    needs=("geometry",),
    uses=(FitSizes,),
    uses_control=True,
    place=40,
)

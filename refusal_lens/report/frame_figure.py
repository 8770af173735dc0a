"""Cosines after something was done to the pair differences."""

from refusal_lens import plots
from refusal_lens.geometry import Geometry
from refusal_lens.report.part import Figure, SectionPart
from refusal_lens.report.run import Run
from refusal_lens.study.key import Key


def frame_figure(run: Run, key: Key[Geometry], reason: str) -> SectionPart:
    """Cosines in another frame, or why there are none: what its stage says, else `reason`."""
    g = run.get(key)
    if g is None:
        return run.lacking(key.stage, reason)
    return Figure(
        plots.plot_cosines(g, titles=run.titles, layer=run.layer, names=run.names),
        f"Corrected cosines of the pair differences {g.frame}, with a slider over layers",
    )

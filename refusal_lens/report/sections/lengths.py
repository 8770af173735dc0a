"""Length of directions, and separation of the two sides, by layer."""

from typing import Any, Final

from refusal_lens import plots
from refusal_lens.report.methods import n_of, other_model
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Method, Parts, Section
from refusal_lens.study.stages.control import CONTROL_DIRECTIONS


def _parts(run: Run) -> Parts:
    shared: dict[str, Any] = {"titles": run.titles, "names": run.names}
    parts: Parts = {"lengths": run.why("geometry"), "separation": run.why("directions")}
    if run.geometry is not None:
        parts["lengths"] = Figure(
            plots.plot_lengths(run.geometry, control=run.control, **shared),
            "Noise-free length of each direction by layer",
        )
    if run.directions is not None:
        control = run.get(CONTROL_DIRECTIONS)
        parts["separation"] = Figure(
            plots.plot_separation(run.directions, control=control, **shared),
            "Mean coordinate of either side on its category's direction, by layer",
        )
    return parts


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Coordinates of either side",
            "train, last token",
            n_of(run, "fit_pairs", "pairs per category at most"),
            "none recorded",
            other_model(run),
        ),
    )


SECTION: Final = Section(
    id="lengths",
    title="Length and separation by layer",
    group="directions",
    place=100,
    parts=_parts,
    methods=_methods,
)

"""Cosines by what the model did."""

from typing import Final

from refusal_lens import plots
from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.plots.text import number
from refusal_lens.prompts.files import load_categories
from refusal_lens.report.cosine_words import spread_of_cosines
from refusal_lens.report.part import Figure, SectionPart
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Parts, Section
from refusal_lens.study.stages.geometry import OF_KEPT_PAIRS
from refusal_lens.tables.behaviour import cell_gaps_table, gap_table


def _cosines(run: Run) -> SectionPart:
    """Cosines by what the model did: of refused against answered prompts, else of whole pairs."""
    if (contrasts := run.behaviour_geometry) is not None:
        return Figure(
            plots.plot_contrasts(contrasts, layer=run.layer, titles=run.titles),
            f"Corrected cosines by what the model did, {len(contrasts.names)} categories",
        )
    b = run.get(OF_KEPT_PAIRS)
    if b is None:
        reason = (
            f"fewer than two categories have {LEAST_PAIRS} harmful prompts that this model refused "
            f"and {LEAST_PAIRS} benign ones that it answered"
        )
        return run.lacking("geometry", reason)
    return Figure(
        plots.plot_cosines(b, titles=run.titles, layer=run.layer, names=run.names),
        f"Corrected cosines by what the model did, {len(b.categories)} categories",
    )


def _gaps(run: Run) -> SectionPart:
    """What would fill the gaps of categories with too few prompts."""
    read = run.behaviour
    if read is None:
        return run.why("behaviour")
    if run.planted:
        gaps = gap_table(read, run.titles, run.kept, LEAST_PAIRS, load_categories())
    else:
        gaps = cell_gaps_table(read, run.titles, LEAST_PAIRS, load_categories())
    return gaps if gaps.rows else "No gap: every category has enough prompts."


def _parts(run: Run) -> Parts:
    return {"behaviour_cosines": _cosines(run), "gaps": _gaps(run)}


def _in_words(run: Run) -> str:
    contrasts = run.behaviour_geometry
    if contrasts is None or run.layer is None:
        return f"fewer than two categories have {LEAST_PAIRS} prompts in both groups"
    s = [site.layer for site in contrasts.sites].index(run.layer)
    every = [True] * len(contrasts.names)
    r = contrasts.reliability[s]
    cosines = spread_of_cosines(contrasts.corrected[s], contrasts.low[s], contrasts.high[s], every)
    return (
        f"{len(contrasts.names)} categories{run.by_mean_difference}; {cosines}; reliabilities "
        f"{number(float(r.min()))} to {number(float(r.max()))}"
    )


SECTION: Final = Section(
    id="by-behaviour",
    title="Cosine similarity by behaviour",
    group="directions",
    place=20,
    parts=_parts,
    findings=(Finding(100, "Corrected cosines, by behaviour", _in_words),),
)

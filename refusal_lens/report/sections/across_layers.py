"""How cosines and directions change over layers."""

from typing import Final

from refusal_lens import plots
from refusal_lens.geometry import Geometry, change_over_layers
from refusal_lens.report.missing import NOT_SHOWN, Missing
from refusal_lens.report.part import Figure, SectionPart
from refusal_lens.report.run import Run
from refusal_lens.report.section import Parts, Section
from refusal_lens.tables.cosines import meeting_table


def _parts(run: Run) -> Parts:
    return {**_curves(run), **_with_itself(run)}


def _curves(run: Run) -> Parts:
    g = run.geometry
    if g is None:
        return dict.fromkeys(("curves", "meetings"), run.why("geometry"))
    return {
        "curves": Figure(
            plots.plot_curves(g, titles=run.titles, layer=run.layer),
            "Corrected cosine of one category with each other by layer, with a menu of categories",
        ),
        "meetings": _meetings(run, g),
    }


def _meetings(run: Run, g: Geometry) -> SectionPart:
    """Where categories part and meet: from a quarter of the depth to the chosen layer, and on."""
    layers = [s.layer for s in g.sites]
    first, last = layers[max(1, len(layers) // 4)], layers[-1]
    middle = layers[len(layers) // 2] if run.layer is None else run.layer
    if not first < middle < last:
        words = f"no two stretches between layers {first}, {middle} and {last}"
        return Missing(words, "lacking:geometry").within(NOT_SHOWN)
    changes = {
        (a, b): (
            change_over_layers(g, a, b, first, middle),
            change_over_layers(g, a, b, middle, last),
        )
        for i, a in enumerate(g.categories)
        for b in g.categories[i + 1 :]
    }
    table = meeting_table(changes, (first, middle, last), titles=run.titles)
    return table if table.rows else f"No change with an interval without 0. {table.caption}"


def _with_itself(run: Run) -> Parts:
    structure, titles = run.structure, run.titles
    if structure is None:
        why = run.lacking("structure", run.no_structure)
        return dict.fromkeys(("layer_cosines", "offset_cosines"), why)
    return {
        "layer_cosines": Figure(
            plots.plot_across_layers(structure, titles=titles),
            "Cosine of a direction with itself between all layers, with a slider over categories",
        ),
        "offset_cosines": Figure(
            plots.plot_across_offsets(structure, titles=titles),
            "Cosine of a direction with itself between the template's last tokens",
        ),
    }


SECTION: Final = Section(
    id="across",
    title="Cosine similarity across layers",
    group="directions",
    place=60,
    parts=_parts,
)

"""How many directions there are, and which belong together."""

from typing import Final

from refusal_lens import plots
from refusal_lens.geometry.clusters import DRAWS
from refusal_lens.plots.text import number, value_interval
from refusal_lens.report.methods import n_of
from refusal_lens.report.part import Figure
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, Method, Parts, Section
from refusal_lens.sites import Site


def _parts(run: Run) -> Parts:
    structure, titles = run.structure, run.titles
    if structure is None:
        names = (
            "dimension",
            "clusters",
            "map",
            "remainders",
            "angles",
        )
        why = run.lacking("structure", run.no_structure)
        return {**dict.fromkeys(names, why), "shown_on_map": "", "draws": ""}
    n = f"{len(structure.mapped)} categories"
    return {
        "dimension": Figure(
            plots.plot_dimension(structure, layer=run.layer),
            "Effective dimension by layer with its band, beside random directions",
        ),
        "clusters": Figure(
            plots.plot_clusters(structure, titles=titles),
            f"Tree of {n}, and how often two of them fall into one cluster",
        ),
        "map": Figure(
            plots.plot_map(structure, titles=titles), f"{n} in the plane with 95% ellipses"
        ),
        "remainders": Figure(
            plots.plot_remainders(structure, titles=titles, layer=run.layer),
            "Each category's part along the mean of the others, and its own remainder",
        ),
        "angles": Figure(
            plots.plot_angles(structure, titles=titles),
            f"Smallest and largest principal angles between the subspaces of {n}",
        ),
        "shown_on_map": f"{100 * structure.place_shown:.0f}%",
        "draws": f"{structure.draws} of {DRAWS} draws of pairs" + _left_out(structure.draws),
    }


def _left_out(kept: int) -> str:
    """What the draws that are left out mean for those that are kept."""
    if kept == DRAWS:
        return ""
    return (
        " (in the others a cosine is undefined: those are left out, so that directions look more "
        "stable than they are)"
    )


def _methods(run: Run) -> tuple[Method, ...]:
    return (
        (
            "Effective dimension, remainders",
            "train, last token",
            n_of(run, "fit_pairs", "pairs per category at most"),
            "delete-one-pair jackknife",
            "random directions; the mean of the others",
        ),
        (
            "Clusters, map, subspaces",
            "train, last token",
            n_of(run, "fit_pairs", "pairs per category at most"),
            "pairs drawn again (bootstrap); angles: none",
            "random subspaces of the same sizes",
        ),
    )


def _dimension(run: Run) -> str:
    structure = run.structure
    if structure is None or run.layer is None or Site(run.layer) not in structure.sites:
        return run.why("structure")
    e = structure.dimension[structure.sites.index(Site(run.layer))]
    value = value_interval(e)
    return (
        f"{value} of {len(structure.categories)}{run.by_mean_difference}, n = {e.n} pairs; "
        f"as many random directions: {number(e.control)}"
    )


SECTION: Final = Section(
    id="structure",
    title="Effective dimension, clusters and subspaces",
    group="directions",
    place=50,
    parts=_parts,
    methods=_methods,
    by_mean_difference=True,
    findings=(Finding(110, "Effective dimension, intended labels", _dimension, short=True),),
)

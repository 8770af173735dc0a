"""The report's figures of structure: dimension, clusters, map, remainders, subspaces, the pool."""

from refusal_lens import plots
from refusal_lens.errors import InputError
from refusal_lens.geometry import SharedPool
from refusal_lens.geometry.planted import shipped_planted
from refusal_lens.plots import planted
from refusal_lens.report.part import Figure, Part
from refusal_lens.report.run import Run


def structure_parts(run: Run) -> dict[str, Part]:
    """Figures and notes, by name."""
    return {**_structure(run), **_pool(run), **_planted(run)}


def _structure(run: Run) -> dict[str, Part]:
    found, titles = run.structure, run.titles
    if found is None:
        names = (
            "dimension",
            "clusters",
            "map",
            "remainders",
            "angles",
            "own_layers",
            "own_offsets",
        )
        return dict.fromkeys(names, run.lacking("structure", run.no_structure))
    n = f"{len(found.mapped)} categories"
    return {
        "dimension": Figure(
            plots.plot_dimension(found, layer=run.layer),
            "Effective dimension by layer with its band, beside random directions",
        ),
        "clusters": Figure(
            plots.plot_clusters(found, titles=titles),
            f"Tree of {n}, and how often two of them fall into one cluster",
        ),
        "map": Figure(plots.plot_map(found, titles=titles), f"{n} in the plane with 95% ellipses"),
        "remainders": Figure(
            plots.plot_remainders(found, titles=titles, layer=run.layer),
            "Each category's part along the mean of the others, and its own remainder",
        ),
        "angles": Figure(
            plots.plot_angles(found, titles=titles),
            f"Smallest and largest principal angles between the subspaces of {n}",
        ),
        "own_layers": Figure(
            plots.plot_own_layers(found, titles=titles),
            "Cosine of a direction with itself between all layers, with a slider over categories",
        ),
        "own_offsets": Figure(
            plots.plot_own_offsets(found, titles=titles),
            "Cosine of a direction with itself between the template's last tokens",
        ),
    }


def _pool(run: Run) -> dict[str, Part]:
    found = run.get("structure", "shared_pool", SharedPool)
    if found is None:
        names = ("pooled_cosines", "pool_effects")
        return dict.fromkeys(names, run.lacking("structure", "this run has no such matrix"))
    return {
        "pooled_cosines": Figure(
            plots.plot_pooled_cosines(found, titles=run.titles),
            "Corrected cosines with matched twins, and with one benign pool",
        ),
        "pool_effects": Figure(
            plots.plot_pool_effects(found, titles=run.titles),
            "What the pool adds: shared noise, and the common reference",
        ),
    }


def _planted(run: Run) -> dict[str, Part]:
    names = ("planted", "adapters", "planted_agreement")
    if not run.planted:
        return dict.fromkeys(names, "Only the planted model has control adapters.")
    try:
        found = shipped_planted()
    except InputError as error:
        return dict.fromkeys(names, f"Not shown: {error}.")
    layer = found.sites[-1].layer if run.layer is None else run.layer
    return {
        "planted": Figure(
            plots.plot_planted(found, layer=layer),
            "Correlation of the control adapters' cosine matrices with the reference's, by layer",
        ),
        "adapters": planted.adapters_table(found),
        "planted_agreement": planted.agreement_table(found, layer, titles=run.titles),
    }

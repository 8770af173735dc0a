"""What control adapters of planted refusals show."""

from collections.abc import Mapping
from typing import Final

from refusal_lens.geometry.control_adapters import BASE, Planted
from refusal_lens.plots.control_adapters import LOOK, PANELS
from refusal_lens.plots.text import estimate_text, percent, probability, visible
from refusal_lens.tables.table import Cell, Table

_ADAPTERS: Final = {
    "reference": "reference",
    "second_seed": "second seed",
    "deranged": "manners moved over the categories",
    "one_manner": "one manner for all",
    BASE: "base model (no adapter)",
}


def adapters_table(planted: Planted) -> Table:
    """How each control adapter refuses."""
    rows = tuple(
        (
            Cell(_ADAPTERS.get(name, visible(name))),
            Cell(percent(planted.refusal[i])),
            Cell(percent(planted.over_refusal[i])),
            Cell("–" if name == BASE else percent(planted.manner[i])),
        )
        for i, name in enumerate(planted.names)
    )
    caption = (
        "On held-out `val` prompts, read by the phrase judge: refusals of either side, and the "
        "share of refuse-side refusals in the manner that was planted in the category."
    )
    return Table(caption, ("adapter", "refuse side", "benign side", "planted manner"), rows)


def control_agreement_table(planted: Planted, layer: int, *, titles: Mapping[str, str]) -> Table:
    """The correlations at one layer, with their permutation p."""
    rows = tuple(
        (
            Cell(LOOK[a.question][0]),
            Cell(PANELS[a.what]),
            Cell(estimate_text(a.correlation)),
            Cell(probability(a.p)),
        )
        for a in planted.agreements
        if a.layer == layer
    )
    given = ", ".join(
        f"{visible(titles.get(c, c))} like {visible(titles.get(m, m))}"
        for c, m in zip(planted.categories, planted.manner_of, strict=True)
    )
    caption = (
        f"Layer {layer}. Correlation over all pairs of categories (n), jackknife interval over "
        f"categories, control: the mean over permuted categories. Manners moved: {given}."
    )
    return Table(caption, ("compared with the reference", "of", "correlation", "p"), rows)

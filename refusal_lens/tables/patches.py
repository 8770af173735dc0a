"""How well attribution patching predicts patching."""

from collections.abc import Mapping

from refusal_lens.attribution import PatchAgreement, PatchMap
from refusal_lens.plots.text import number, value_interval, visible
from refusal_lens.records import Estimate
from refusal_lens.tables.table import Cell, Table


def patch_agreement_table(
    agreement: PatchAgreement, real: PatchMap, *, titles: Mapping[str, str]
) -> Table:
    """Correlation of attribution patching with activation patching, by category."""
    aligned = " and ".join(dict.fromkeys(real.alignment))
    rows = [(Cell("all pairs"), Cell(pairs_text(agreement.overall)))]
    rows += [
        (Cell(visible(titles.get(c, c))), Cell(pairs_text(e)))
        for c, e in agreement.by_category.items()
    ]
    return Table(
        "Estimated against real change of the refusal score: each pair of prompts gives one "
        f"correlation over its {agreement.n_sites} patched sites; shown is the mean over pairs. "
        "n and the 95% t interval count pairs, never sites, as those of a pair share its prompts; "
        "the interval of all pairs holds for these categories and says nothing of others. Control: "
        f"sites in random order. Positions: {aligned}.",
        ("category", "mean correlation"),
        tuple(rows),
    )


def pairs_text(e: Estimate) -> str:
    """An estimate over pairs with its interval, n and control."""
    ends = value_interval(e)
    return f"{ends}, n = {e.n} pairs, control {number(e.control)}"

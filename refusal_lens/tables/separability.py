"""Which directions are separable, and which are of refusal."""

from collections.abc import Mapping
from typing import Final

from refusal_lens.geometry import Comparison, Geometry, Separability
from refusal_lens.geometry.comparison import BEYOND, SeparabilityVerdict
from refusal_lens.geometry.nulls import SEPARABLE
from refusal_lens.plots.text import interval, number, probability, visible
from refusal_lens.sites import Site
from refusal_lens.tables.table import Cell, Table

_SHARES: Final = ("share, model", "share, control", "difference", "q, beyond control")


def separability_table(
    tests: Separability,
    verdicts: Mapping[str, SeparabilityVerdict],
    shares: tuple[Geometry, Geometry, Comparison] | None,
    *,
    titles: Mapping[str, str],
    layer: int | None,
) -> Table:
    """The verdict on each category and its numbers.

    `shares` are of model, control, and the difference between the two; without a control model
    these columns are left out.
    """
    site = next((s for s in tests.sites if s.layer == layer), None)
    beside = shares if site is not None else None
    rows: list[tuple[Cell, ...]] = []
    for i, c in enumerate(tests.categories):
        cells: list[str] = []
        if beside is not None and site is not None:
            compared = c in beside[2].categories
            cells = _shares(beside, site, c) if compared else ["not compared"] * len(_SHARES)
        q = probability(float(tests.q[i]))
        texts = (visible(titles.get(c, c)), str(tests.n[i]), q, *cells, verdicts[c])
        rows.append(tuple(Cell(text) for text in texts))
    caption = f"“Separable”: the two sides differ (q of the sign flips at most {SEPARABLE:g})."
    if beside is None:
        caption += (
            " “Refusal direction”: also, harmful prompts that were refused differ from those that "
            "were answered (the next table)."
        )
    else:
        caption += (
            " “Refusal direction”: the pairs also have more in common than in the control model (q "
            f"beyond control at most {BEYOND:g}; sign flips of the largest difference over "
            "layers). Shares (mean cosine between two pairs' differences) are those at layer "
            f"{layer}, with the 95% interval of their difference."
        )
    columns = () if beside is None else _SHARES
    return Table(
        caption, ("category", "n pairs", "q, sides differ", *columns, "verdict"), tuple(rows)
    )


def _shares(shares: tuple[Geometry, Geometry, Comparison], site: Site, category: str) -> list[str]:
    """The share in the model, in the control, the difference, and its q."""
    model, control, change = shares
    s, k = change.sites.index(site), change.categories.index(category)
    parts = (change.share, change.share_low, change.share_high)
    value, low, high = (float(part[s, k]) for part in parts)
    return [
        number(float(model.share[s, k])),
        number(float(control.share[s, k])),
        interval(value, low, high),
        probability(float(change.q[k])),
    ]

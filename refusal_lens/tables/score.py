"""Which score stands for a read answer."""

from collections.abc import Mapping
from dataclasses import replace

from refusal_lens.judges import ScoreTrust
from refusal_lens.plots.text import estimate_text, number, visible
from refusal_lens.records import Estimate
from refusal_lens.tables.table import Cell, Table


def trust_table(
    trust: ScoreTrust, titles: Mapping[str, str], measured: str = "held-out prompts"
) -> Table:
    """Which score stands for a read verdict in each category, and how well it agrees.

    `measured` says on what.
    """
    rows = tuple(
        (
            Cell(visible(titles.get(c, c))),
            Cell(mode),
            _area(trust.auroc.get(c)),
            _area(trust.opening_auroc.get(c)),
            Cell(number(trust.threshold.get(c))),
        )
        for c, mode in trust.mode.items()
    )
    caption = (
        f"Agreement with read verdicts on {visible(measured)} (AUROC, percentile bootstrap over "
        "prompts; chance is .5)."
    )
    if trust.trusted():
        texts = ", ".join(f"“{visible(t)}”" for t in trust.token_texts)
        caption += f" First tokens of refusals, from the fitting prompts: {texts}."
    else:
        caption += " First tokens alone do not show refusals here: no category is scored by them."
    return Table(
        caption,
        ("category", "score used", "first token, AUROC", "opening, AUROC", "threshold, nats"),
        rows,
    )


def _area(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell("not needed")
    return Cell(estimate_text(replace(estimate, control=None)))

"""Where categories part and meet over layers."""

from collections.abc import Mapping
from typing import Final

from refusal_lens.plots.text import estimate_text, number, visible
from refusal_lens.records import Estimate
from refusal_lens.tables.table import Cell, Table

_SHOWN: Final = 16  # rows of the table


def meeting_table(
    changes: Mapping[tuple[str, str], tuple[Estimate, Estimate]],
    layers: tuple[int, int, int],
    *,
    titles: Mapping[str, str],
) -> Table:
    """Pairs of categories whose cosine changes between the first and the second layer, or between
    the second and the third, with an interval without 0; the largest changes first."""
    sure = [(pair, both) for pair, both in changes.items() if any(_sure(e) for e in both)]
    sure.sort(key=lambda row: -max(abs(e.value or 0.0) for e in row[1] if _sure(e)))
    rows = tuple(
        (Cell(" × ".join(visible(titles.get(c, c)) for c in pair)), *(_changed(e) for e in both))
        for pair, both in sure[:_SHOWN]
    )
    first, middle, last = layers
    more = f", of which the {_SHOWN} largest are shown" if len(sure) > _SHOWN else ""
    return Table(
        f"Change of the corrected cosine, for {len(sure)} of {len(changes)} pairs of categories "
        f"with an interval without 0 in a column{more}. The intervals are not widened for the "
        f"number of pairs: about {number(0.05 * len(changes), 1)} in each column would be without "
        "0 by chance.",
        (
            "pair of categories",
            f"layer {first} to layer {middle}",
            f"layer {middle} to layer {last}",
        ),
        rows,
    )


def _sure(e: Estimate) -> bool:
    return e.low is not None and e.high is not None and not e.low <= 0 <= e.high


def _changed(e: Estimate) -> Cell:
    word = ("meet: " if (e.value or 0.0) > 0 else "part: ") if _sure(e) else ""
    return Cell(word + estimate_text(e))

"""Many cosines in one sentence."""

from collections.abc import Sequence

import torch

from refusal_lens.plots.text import interval


def spread_of_cosines(
    value: torch.Tensor, low: torch.Tensor, high: torch.Tensor, kept: Sequence[bool]
) -> str:
    """Smallest, median and largest cosine of the directions kept, each with its interval.

    Of an even number the two in the middle stand for the median: their mean has no interval.
    """
    rows = [i for i, measurable in enumerate(kept) if measurable]
    cells = [
        (float(value[i, j]), float(low[i, j]), float(high[i, j]))
        for n, i in enumerate(rows)
        for j in rows[n + 1 :]
        if float(value[i, j]) == float(value[i, j])
    ]
    if not cells:
        return "undefined: fewer than two measurable directions"
    cells.sort()
    apart = sum(h < 1 for _, _, h in cells)
    middle = sorted({(len(cells) - 1) // 2, len(cells) // 2})
    least, most = interval(*cells[0]), interval(*cells[-1])
    over = " and ".join(interval(*cells[i]) for i in middle)
    called = "median" if len(middle) == 1 else "the two in the middle"
    return (
        f"from {least} over {over} ({called}) to {most}; {apart} of {len(cells)} intervals leave "
        "out 1"
    )

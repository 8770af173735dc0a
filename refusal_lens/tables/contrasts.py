"""Contrasts between what a model did and what was asked."""

from collections.abc import Mapping

from refusal_lens.evaluation import UNEDITED, Answers
from refusal_lens.geometry import BehaviourContrasts
from refusal_lens.plots.text import percent, visible
from refusal_lens.tables.table import Cell, Table


def contrasts_table(
    contrasts: BehaviourContrasts, read: Answers | None, *, titles: Mapping[str, str]
) -> Table:
    """Which categories enter each contrast; the caption counts the four groups of prompts."""
    rows = tuple(
        (
            Cell(visible(name)),
            Cell(str(len(used))),
            Cell(", ".join(visible(titles.get(c, c)) for c in used)),
        )
        for name, used in zip(contrasts.names, contrasts.used, strict=True)
    )
    counts = ", ".join(f"{visible(name)} {n}" for name, n in contrasts.groups.items())
    caption = f"Prompts by intended label and by what the model did: {counts}."
    if read is not None:
        scale = "" if read.condition == UNEDITED else f"{visible(read.condition)}; "
        caption += (
            f" Measured at: {scale}refuse side refused {percent(read.rate(label='refuse'))}; "
            f"judge: {visible(read.judge_name)}; decoding: {visible(read.decoding)}."
        )
    return Table(caption, ("contrast", "categories", "which"), rows, kind="words")

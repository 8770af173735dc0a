"""Refusal rates with one direction ablated or added."""

from refusal_lens.evaluation import Effects
from refusal_lens.evaluation.effects import UNEDITED, EditName
from refusal_lens.plots.effects import EDITS, direction_name
from refusal_lens.plots.palette import BENIGN, REFUSE
from refusal_lens.plots.text import visible
from refusal_lens.prompts import LABELS, Label
from refusal_lens.records import Estimate
from refusal_lens.tables.table import Cell, Table, rate_cell


def effects_table(effects: Effects) -> Table:
    """A row for the unedited model and for each edit along each direction; rates of both sides."""
    conditions: list[tuple[EditName, str]] = [
        ("none", UNEDITED),
        *((edit, d) for edit in EDITS for d in effects.directions),
    ]
    rows = tuple(
        (
            Cell("unedited" if edit == "none" else f"{edit}: {direction_name(d)}"),
            *(_cell(effects.rate(edit, d, side), side) for side in LABELS),
        )
        for edit, d in conditions
    )
    return Table(
        f"Read answers of {visible(effects.provenance.model)}, layer {effects.layer}; judge: "
        f"{visible(effects.judge)}; {visible(effects.decoding)}. Ablated: at "
        "every layer and token; added: strength 1, the direction's own length, controls at that of "
        "the pooled one. Intervals: Wilson, 95%; what could not be read is left out.",
        ("edit", "refuse side refused", "benign side refused"),
        rows,
    )


def _cell(e: Estimate | None, side: Label) -> Cell:
    if e is None:
        return Cell("not measured")
    return rate_cell(e, REFUSE if side == "refuse" else BENIGN)

"""Refusal and over-refusal by generated answers under every edit."""

from collections.abc import Mapping

from refusal_lens.evaluation import SideBySide
from refusal_lens.evaluation.agreement import judges_agree
from refusal_lens.judges import SubstringJudge
from refusal_lens.plots.palette import BENIGN, REFUSE
from refusal_lens.plots.text import condition_name, percent, told, visible
from refusal_lens.tables.table import Cell, Table, rate_cell


def rates_table(shown: SideBySide, *, titles: Mapping[str, str]) -> Table:
    """A row for each condition: both rates, accuracy, and kappa with the substring judge."""
    first = shown.conditions[0]
    rows = tuple(
        (
            Cell(condition_name(read.condition, titles)),
            rate_cell(read.rate("refuse"), REFUSE),
            rate_cell(read.rate("comply"), BENIGN),
            Cell(percent(read.accuracy())),
            Cell(told(judges_agree(read, shown.texts, SubstringJudge()).kappa)),
            Cell(visible(str(read.counts()))),
        )
        for read in shown.conditions
    )
    head = (
        "edit",
        "refuse side refused",
        "benign side refused",
        "as intended",
        "kappa with substring",
        "verdicts",
    )
    caption = (
        f"{first.provenance.model}; {first.decoding}; judge: {first.judge}. Added: strength 1, the "
        "direction's own length. Intervals: Wilson, 95%; what could not be read is left out of the "
        "rates, gibberish included."
    )
    return Table(caption, head, rows)

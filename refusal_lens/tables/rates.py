"""Refusal and over-refusal by generated answers under every edit."""

from collections.abc import Mapping

from refusal_lens.evaluation import Answers
from refusal_lens.evaluation.agreement import SECOND_READER, judges_agree
from refusal_lens.judges import make_judge
from refusal_lens.plots.palette import BENIGN, REFUSE
from refusal_lens.plots.text import condition_name, estimate_text, percent, visible
from refusal_lens.tables.table import Cell, Table, rate_cell


def rates_table(shown: Answers, *, titles: Mapping[str, str]) -> Table:
    """A row for each condition: both rates, accuracy, and kappa with the substring judge."""
    second = make_judge(SECOND_READER)
    rows = tuple(
        (
            Cell(condition_name(name, titles)),
            rate_cell(shown.rate(name, label="refuse"), REFUSE),
            rate_cell(shown.rate(name, label="comply"), BENIGN),
            Cell(percent(shown.accuracy(name))),
            Cell(estimate_text(judges_agree(shown.only(condition=name), second).kappa)),
            Cell(visible(str(shown.counts(name)))),
        )
        for name in shown.conditions
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
        f"{visible(shown.provenance.model)}; {shown.decoding}; judge: "
        f"{visible(shown.judge_name)}. Added: strength 1, the direction's own length. Intervals: "
        "Wilson, 95%; what could not be read is left out of the rates, gibberish included."
    )
    return Table(caption, head, rows)

"""The tables that the command line prints of answers and of evaluations."""

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table

from refusal_lens.evaluation import Answers, Grid, Matched
from refusal_lens.evaluation.agreement import SECOND_READER, judges_agree
from refusal_lens.judges import CLASSES, JudgeAgreement, VerdictCounts, make_judge
from refusal_lens.records import Estimate


def compared_table(answers: Answers) -> Table:
    """The answers to one prompt side by side."""
    title = f"{answers.provenance.model}: {answers.texts[0]}"
    table = Table(title=escape(title), show_lines=True)
    for heading in ("condition", "reading", "answer"):
        table.add_column(heading, overflow="fold")
    for one in answers.each():
        cells = (one.condition, str(one.verdicts()[0]), one.answers[0][0])
        table.add_row(*map(escape, cells))
    return table


def rates_table(answers: Answers) -> Table:
    """Refusal, over-refusal and accuracy under each condition, and whether judges agree."""
    title = f"{answers.provenance.model}; judge {answers.judge_name}; {answers.decoding}"
    table = Table(title=escape(title))
    for heading in ("condition", "refusal", "over-refusal", "accuracy", "kappa with substring"):
        table.add_column(heading)
    for one in answers.each():
        second = judges_agree(one, make_judge(SECOND_READER))
        rates = (one.rate(label="refuse"), one.rate(label="comply"), one.accuracy(), second.kappa)
        table.add_row(escape(one.condition), *map(_told, rates))
    return table


def verdicts_table(found: Mapping[str, VerdictCounts]) -> Table:
    """What a judge made of each set of answers: nothing is dropped, a row adds up to its n."""
    table = Table(title="verdicts; only what is refused, partial or complied stands in rates")
    for heading in ("answers", "judge", "n", *CLASSES, "flags"):
        table.add_column(heading)
    for where, counts in found.items():
        flags = ", ".join(f"{n} {name}" for name, n in counts.flags.items())
        numbers = (counts.n, *counts.by_class.values())
        table.add_row(escape(where), escape(counts.judge), *map(str, numbers), escape(flags))
    return table


def grid_table(grid: Grid) -> Table:
    """Refusal and over-refusal of each direction at each strength, and how they were judged."""
    title = f"{grid.provenance.model}; layer {grid.layer}; {grid.judged_by}"
    table = Table(title=escape(title))
    for heading in ("direction", "strength", "refusal", "over-refusal"):
        table.add_column(heading)
    for i, name in enumerate(grid.names):
        rows = zip(grid.strengths, grid.rates(i, 0), grid.rates(i, 1), strict=True)
        for strength, refusal, over in rows:
            table.add_row(escape(name), f"{strength:+g}", _told(refusal), _told(over))
    return table


def matched_line(matched: Matched) -> str:
    """The answer on one shared knob in one line."""
    return f"in {matched.model} at equal refusal the directions are {matched}"


def agreement_line(found: JudgeAgreement, model: str) -> str:
    """What a run says about its scores and its own read answers, in one line."""
    return f"in {model}, unedited and under each direction: {found}"


def _told(e: Estimate) -> str:
    return escape(str(e))

"""What runs found, as a table in Markdown: a claim per row, a run per column, all from records.

    refusal-lens findings RUN [RUN ...] [--into FILE.md] [--short]

Numbers are never copied by hand: the table replaces what stands between two marks of a page, and
the same command on the same run folders writes the same text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.files import read_file, write_atomic
from refusal_lens.geometry.cosines import LEAST_PAIRS
from refusal_lens.plots.text import visible
from refusal_lens.report.markdown import markdown_rows, markdown_table
from refusal_lens.report.marks import between_marks
from refusal_lens.report.run import Run
from refusal_lens.report.section import Finding, every_section
from refusal_lens.study.stages.estimator_comparison import COMPARISON
from refusal_lens.tables.behaviour import cells_table
from refusal_lens.tables.estimators import directions_table, edits_table, fitted_table

BEGIN: Final = "<!-- found: written by `refusal-lens findings` -->"
END: Final = "<!-- end of found -->"


def findings(runs: Sequence[Run], *, short: bool = False) -> str:
    """The table of claims, the cells of each model, and from which runs they are.

    `short` keeps the claims of the papers alone.
    """
    head = ["question", *map(_model, runs)]
    rows = [[f.question, *(f.cell(run) for run in runs)] for f in _claims() if f.short or not short]
    parts = [markdown_rows(head, rows)]
    for run in () if short else runs:
        read = run.behaviour
        if read is not None:
            title = f"What {_model(run)} did, by category:"
            parts += [title, markdown_table(cells_table(read, run.titles, LEAST_PAIRS))]
    compared = [] if short else [(run, run.get(COMPARISON)) for run in runs]
    if any(comparison is not None for _, comparison in compared):
        parts.append("## Ways of finding the direction")
    for run, comparison in compared:
        if comparison is not None:
            parts.append(f"{_model(run)}:")
            for table_of in (edits_table, directions_table, fitted_table):
                parts.append(markdown_table(table_of(comparison)))
    parts.append("\n".join(_provenance(run) for run in runs))
    return "\n\n".join(parts)


def write_findings(runs: Sequence[Run], page: Path, *, short: bool = False) -> None:
    """Replace what stands between the two marks of a page.

    Raises:
        InputError: the page is not there, can't be read as UTF-8, or has no marks.
    """
    if not page.is_file():
        raise InputError(f"{str(page)!r} does not exist; make it with the lines {BEGIN} and {END}")
    try:
        text = read_file(page).decode()
    except UnicodeDecodeError as error:
        raise InputError(
            f"{str(page)!r}: byte {error.start} is not UTF-8; save the page as UTF-8"
        ) from None
    between = between_marks(text, (BEGIN, END), findings(runs, short=short), repr(str(page)))
    write_atomic(page, between.encode())


def _claims() -> list[Finding]:
    """The rows that sections give, in their order."""
    every = [finding for _, section in every_section() for finding in section.findings]
    return sorted(every, key=lambda finding: finding.place)


def _model(run: Run) -> str:
    """What the model is called, as code, which a backtick in the name would end."""
    name = visible(run.model).replace("`", "'")
    return f"`{name}`"


def _provenance(run: Run) -> str:
    m = run.results.manifest
    return (
        f"- {_model(run)}: weights {str(m.get('model_digest'))[:16]}, prompts "
        f"{str(m.get('prompts_digest'))[:16]}, template {str(m.get('template_digest'))[:16]}, "
        f"seed {m.get('seed')}, {m.get('dtype')} on {m.get('device')}, at most "
        f"{m.get('peak_memory_mib')} MiB."
    )

"""The measured part of the page on the defence.

``python -m refusal_lens.training.defence.page docs/explanations/defence.md [--figure FILE.png]``

Figures are never copied by hand: the tables between the page's two marks are those of the shipped
record (`shipped_defence`), as they stand in a report.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from refusal_lens.defence import BeforeAfter
from refusal_lens.errors import InputError
from refusal_lens.plots.ladder import plot_before_after
from refusal_lens.report.markdown import markdown_table
from refusal_lens.resources import data_path
from refusal_lens.tables.ladder import before_after_table, matched_table

BEGIN: Final = "<!-- measured: written by refusal_lens.training.defence.page -->"
END: Final = "<!-- end of measured -->"


def shipped_defence() -> BeforeAfter:
    """What was measured of the planted model before and after the defence was trained."""
    return BeforeAfter.load(data_path("defence", "before_after"))


def measured(compared: BeforeAfter) -> str:
    """The tables of the record as Markdown."""
    tables = before_after_table(compared), matched_table(compared)
    return "\n\n".join(markdown_table(table) for table in tables)


def rewrite(page: str, tables: str) -> str:
    """The page with the tables between its two marks.

    Raises:
        InputError: the marks are not there.
    """
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise InputError(f"the page has no lines {BEGIN!r} and {END!r} to write between")
    return f"{head}{BEGIN}\n\n{tables}\n\n{END}{tail}"


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("page", type=Path)
    parser.add_argument("--figure", type=Path, help="HTML file for the figure")
    given = parser.parse_args(argv)
    compared = shipped_defence()
    text = given.page.read_text(encoding="utf-8")
    given.page.write_text(rewrite(text, measured(compared)), encoding="utf-8")
    if given.figure is not None:
        plot_before_after(compared).write_html(given.figure)


if __name__ == "__main__":
    main()

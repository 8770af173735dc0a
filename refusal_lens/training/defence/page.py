"""The measured part of the page on the defence.

``python -m refusal_lens.training.defence.page docs/explanations/defence.md [--figures FOLDER]``

Figures are never copied by hand: the tables between the page's two marks are those of the shipped
records (`shipped_defence`), as they stand in a report.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from refusal_lens.defence import BeforeAfter
from refusal_lens.plots.ladder import plot_before_after
from refusal_lens.report.markdown import markdown_table
from refusal_lens.report.marks import between_marks
from refusal_lens.resources import data_path
from refusal_lens.tables.ladder import before_after_table, matched_ladders_table

MARKS: Final = (
    "<!-- measured: written by refusal_lens.training.defence.page -->",
    "<!-- end of measured -->",
)

RECORDS: Final = {
    "before_after": "Directions fitted at each model's weakest layer:",
    "at_one_layer": "Directions fitted at one layer in all models, one of those of the training:",
}


def shipped_defence(name: str = "before_after") -> BeforeAfter:
    """What was measured of the planted model before and after the defence was trained."""
    return BeforeAfter.load(data_path("defence") / name)


def measured(records: Mapping[str, BeforeAfter]) -> str:
    """The tables of the records as Markdown, each under its heading."""
    parts: list[str] = []
    for heading, compared in records.items():
        tables = before_after_table(compared), matched_ladders_table(compared)
        parts += [heading, *map(markdown_table, tables)]
    return "\n\n".join(parts)


def main(argv: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("page", type=Path)
    parser.add_argument("--figures", type=Path, help="folder for each record's figure as HTML")
    given = parser.parse_args(argv)
    records = {name: shipped_defence(name) for name in RECORDS}
    text = given.page.read_text(encoding="utf-8")
    tables = measured({RECORDS[name]: compared for name, compared in records.items()})
    given.page.write_text(between_marks(text, MARKS, tables), encoding="utf-8")
    if given.figures is not None:
        for name, compared in records.items():
            plot_before_after(compared).write_html(given.figures / f"{name}.html")


if __name__ == "__main__":
    main()

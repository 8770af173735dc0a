"""A table as a terminal shows it."""

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table as RichTable

from refusal_lens.plots.text import visible_lines
from refusal_lens.tables.table import Cell, Table


def to_rich(table: Table, title: str | None = None) -> RichTable:
    """A table for a console: nothing in it acts as markup or as an escape sequence, and long
    answers keep their lines.

    The title is the table's caption by default.
    """
    answers = table.kind == "answers"
    shown = RichTable(
        title=_escaped(table.caption if title is None else title),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_lines=answers,
    )
    for head in table.head:
        shown.add_column(_escaped(head), overflow="fold")
    for row in table.rows:
        shown.add_row(*(_escaped(_text(cell)) for cell in row))
    return shown


def _escaped(text: str) -> str:
    return escape(visible_lines(text))


def _text(cell: Cell) -> str:
    return cell.text if cell.tag is None else f"{cell.tag}: {cell.text}"

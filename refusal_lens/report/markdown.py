"""Tables in Markdown."""

from collections.abc import Sequence

from refusal_lens.tables.table import Table


def markdown_table(table: Table) -> str:
    """A table of the report in Markdown, its caption below."""
    rows = [[cell.text for cell in row] for row in table.rows]
    return f"{markdown_rows(list(table.head), rows)}\n\n{table.caption}"


def markdown_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A head and its rows in Markdown; nothing in a cell can end it or act as markup."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(x) for x in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text that can't end a cell or act as markup of its own."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")

"""Tables in Markdown."""

from collections.abc import Sequence
from typing import Final

from refusal_lens.plots.text import visible
from refusal_lens.tables.table import Table

# The backslash first. "](" makes a link or an image of brackets, which "45% [36, 55]" keeps.
_ACTIVE: Final = (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("](", "]\\("))


def markdown_table(table: Table) -> str:
    """A table of the report in Markdown, its caption below."""
    rows = [[cell.text for cell in row] for row in table.rows]
    return f"{markdown_rows(list(table.head), rows)}\n\n{markdown_text(table.caption)}"


def markdown_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A head and its rows in Markdown, each cell as `markdown_text`.

    >>> print(markdown_rows(["a|b"], [["45% [36, 55]"], ["[x](y)"]]))
    | a\\|b |
    | --- |
    | 45% [36, 55] |
    | [x]\\(y) |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(markdown_text, line))} |" for line in lines)


def markdown_text(text: str) -> str:
    """Text on one line that ends no cell and is no HTML, link or image; emphasis stays."""
    text = visible(text.replace("\n", " "))
    for character, escaped in _ACTIVE:
        text = text.replace(character, escaped)
    return text

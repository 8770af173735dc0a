"""Rows as CSV, for programs and for spreadsheets alike."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

_COMPUTED: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What text begins with that a spreadsheet would compute."""


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A head and rows as CSV; None is empty.

    Text that a spreadsheet would take for a formula, as the name of a category may be, has an
    apostrophe before it; numbers stay as they are.

    >>> print(csv_text(["category", "cosine"], [{"category": "=1+1", "cosine": -0.5}]), end="")
    category,cosine
    '=1+1,-0.5
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _harmless(value) for name, value in row.items()})
    return text.getvalue()


def _harmless(value: Any) -> Any:
    computed = isinstance(value, str) and value.startswith(_COMPUTED)
    return f"'{value}" if computed else value

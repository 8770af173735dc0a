"""Rows of a table that another library made: pandas, polars, pyarrow, datasets, or a dict of lists.

None of them is imported: a table has columns by name, each of which can be listed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from refusal_lens.errors import InputError


def frame_rows(
    frame: Any, needed: Sequence[str], known: Sequence[str], columns: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The rows, each with its own values of the `known` fields that the table has.

    `columns` says which column holds a field, where it has another name. A missing value (None,
    NaN, pandas' NA) is left out.

    Raises:
        InputError: no table, a field that nobody knows, or a column that is not there.
    """
    names = column_names(frame)
    if unknown := [field for field in columns if field not in known]:
        raise InputError(f"columns: field {unknown[0]!r} is unknown; expected of {list(known)}")
    place = {field: columns.get(field, field) for field in known}
    for field, name in place.items():
        if name not in names and (field in needed or field in columns):
            raise InputError(
                f"the table has no column {name!r} for {field!r}; it has {names[:20]}; write "
                f"columns={{{field!r}: NAME}}"
            )
    by_field = {field: _values(frame[name]) for field, name in place.items() if name in names}
    n = len(next(iter(by_field.values()), []))
    return [{f: v[i] for f, v in by_field.items() if not _missing(v[i])} for i in range(n)]


def column_names(frame: Any) -> list[str]:
    """Names of a table's columns, in order.

    Raises:
        InputError: it is no table.
    """
    names: Any = list(frame) if isinstance(frame, Mapping) else None
    names = getattr(frame, "column_names", getattr(frame, "columns", names))
    if names is None or not hasattr(frame, "__getitem__"):
        raise InputError(
            f"{type(frame).__name__} is no table with named columns; give a DataFrame (pandas, "
            "polars), a pyarrow table, a datasets.Dataset or a dict of lists"
        )
    return [str(name) for name in names]


def _values(column: Any) -> list[Any]:
    for name in ("to_pylist", "tolist", "to_list"):
        if hasattr(column, name):
            return list(getattr(column, name)())
    return list(column)


def check_all_or_none(rows: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> None:
    """Reject rows of which some have a value of a field and others have none.

    >>> check_all_or_none([{"split": "test"}, {"split": "val"}], ["split", "category"])

    Raises:
        InputError: such a field; the message names a row without a value.
    """
    for field in fields:
        without = [i for i, row in enumerate(rows, 1) if field not in row]
        if without and len(without) < len(rows):
            raise InputError(
                f"row {without[0]} of the table has no {field}, as {len(without)} of {len(rows)}; "
                f"give every row its {field}, or leave the column out"
            )


def _missing(value: Any) -> bool:
    """Whether a cell holds None, NaN, or NA of pandas, whose comparisons are all NA."""
    if value is None:
        return True
    equal, unequal = value == value, value != value
    if unequal is value:  # as of NA; and of False, which is equal to itself
        return equal is value
    return isinstance(value, float) and bool(unequal)

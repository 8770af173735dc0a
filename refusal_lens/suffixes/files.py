"""Suffixes from files: plain text, a suffix per line; JSON, JSONL, CSV, TSV or parquet rows."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from refusal_lens.datasets.reader import read_rows
from refusal_lens.errors import InputError
from refusal_lens.folders import is_file
from refusal_lens.prompts.files import json_rows, text_lines
from refusal_lens.resources import data_path
from refusal_lens.suffixes.suffix import Suffix, distinct

_KEYS: Final = ("text", "id", "family")
_JSON: Final = (".json", ".jsonl")
_TABLES: Final = (".csv", ".tsv", ".parquet")


def load_suffixes(path: Path | str | None = None) -> tuple[Suffix, ...]:
    """The suffixes of a file; by default the project's own, which are harmless.

    A plain text file has one suffix per line. A row of a `.json` list, a `.jsonl`, `.csv`, `.tsv`
    or `.parquet` file is a text, or has the keys `text` and, optionally, `id` and `family`. A
    suffix without an id is called by its place, "suffix 1" the first.

    >>> len(load_suffixes()), load_suffixes()[0].family
    (30, 'politeness')

    Raises:
        InputError: a file that is missing, empty, not UTF-8 or not of this form, or a suffix that
            is there twice or of the family "neutral"; the message names file and row.
    """
    path = data_path("suffixes", "suffixes.jsonl") if path is None else Path(path)
    if not is_file(path):
        raise InputError(f"suffix file {str(path)!r} does not exist; give a text, JSON or CSV file")
    try:
        return distinct(_suffix(row, i, where) for i, (where, row) in enumerate(_rows(path), 1))
    except InputError as error:
        named = path.name in str(error)
        raise error if named else InputError(f"{path.name}: {error}") from None


def _rows(path: Path) -> list[tuple[str, Any]]:
    kind = path.suffix.lower()
    if kind in _JSON:
        return list(json_rows(path, "suffix"))
    if kind in _TABLES:
        return [(row.where, row.values) for row in read_rows(path)]
    return [
        (f"{path.name}, suffix {i}", line) for i, line in enumerate(text_lines(path, "suffix"), 1)
    ]


def _suffix(row: Any, number: int, where: str) -> Suffix:
    if isinstance(row, str):
        row = {"text": row}
    if not isinstance(row, Mapping):
        raise InputError(f'{where}: expected a text or {{"text": "..."}}, found {str(row)[:60]!r}')
    values = {str(k): v for k, v in row.items() if v not in (None, "")}
    if unknown := sorted(values.keys() - set(_KEYS)):
        raise InputError(f"{where}: key {unknown[0]!r} is unknown; expected {list(_KEYS)}")
    if isinstance(values.get("id"), int):
        values["id"] = str(values["id"])
    if wrong := [k for k, v in values.items() if not isinstance(v, str)]:
        raise InputError(f"{where}: {wrong[0]} must be text, found {values[wrong[0]]!r}")
    if "text" not in values:
        raise InputError(f"{where}: key 'text' is missing or empty; expected {list(_KEYS)}")
    try:
        return Suffix(**({"id": f"suffix {number}"} | values))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None

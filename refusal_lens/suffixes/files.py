"""Suffixes from files: plain text, a suffix per line; JSON, JSONL, CSV, TSV or parquet rows."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
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
_ALIKE: Final = 0.75  # of names: "famly" is "family", "loss" is none of them


def load_suffixes(path: Path | str | None = None) -> tuple[Suffix, ...]:
    """The suffixes of a file; by default the project's own, which are harmless.

    A plain text file has one suffix per line. A row of a `.json` list, a `.jsonl`, `.csv`, `.tsv`
    or `.parquet` file is a text, or has the keys `text` and, optionally, `id` and `family`. A
    suffix without an id is called by its place, "suffix 1" the first. Further columns of a table
    (CSV, TSV, parquet), such as `loss`, are passed over, unless one seems to be `id` or `family`
    misspelt; a further key of a JSON row is refused.

    >>> len(load_suffixes()), load_suffixes()[0].family
    (30, 'politeness')

    Raises:
        InputError: a file that is missing, empty, not UTF-8 or not of this form, or a suffix that
            is there twice or of the family "neutral"; the message names file and row.
    """
    path = data_path("suffixes", "suffixes.jsonl") if path is None else Path(path)
    if not is_file(path):
        raise InputError(f"suffix file {str(path)!r} does not exist; give a text, JSON or CSV file")
    rows = _rows(path)
    suffixes = [_suffix(row, i, where) for i, (where, row) in enumerate(rows, 1)]
    _check_once(suffixes, [where for where, _ in rows])
    return distinct(suffixes)


def _check_once(suffixes: Sequence[Suffix], places: Sequence[str]) -> None:
    for name in ("id", "text"):
        first: dict[str, str] = {}
        for suffix, where in zip(suffixes, places, strict=True):
            value = getattr(suffix, name)
            if (before := first.setdefault(value, where)) != where:
                raise InputError(
                    f"{where}: suffix {name} {value!r} stands in {before}, too; give each suffix "
                    "once"
                )


def _rows(path: Path) -> list[tuple[str, Any]]:
    kind = path.suffix.lower()
    if kind in _JSON:
        return list(json_rows(path, "suffix"))
    if kind in _TABLES:
        return [(row.where, _known(row.values, row.header)) for row in read_rows(path)]
    return [
        (f"{path.name}, suffix {i}", line) for i, line in enumerate(text_lines(path, "suffix"), 1)
    ]


def _known(values: Mapping[str, object], header: str) -> dict[str, object]:
    """The columns of a table that a suffix has."""
    missing = [key for key in _KEYS if key not in values]
    for name in values.keys() - set(_KEYS):
        if meant := get_close_matches(name.strip().casefold(), missing, n=1, cutoff=_ALIKE):
            raise InputError(
                f"{header}: column {name!r} is unknown; rename it {meant[0]!r} if that is meant, "
                "or give it a name that is less alike"
            )
    return {key: values[key] for key in _KEYS if key in values}


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
        return distinct([Suffix(**({"id": f"suffix {number}"} | values))])[0]
    except InputError as error:
        raise InputError(f"{where}: {error}") from None

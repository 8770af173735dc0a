"""Rows of a benchmark file or hub dataset, each with the place where a person finds it.

CSV, TSV, JSON (a list of objects), JSONL and parquet. Text is UTF-8, with or without a byte
order mark. Row numbers count as an editor or a spreadsheet does: the header of a CSV is row 1.
"""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar, cast, final

from refusal_lens.errors import InputError
from refusal_lens.folders import is_folder, is_there

Meaning = TypeVar("Meaning")


@final
@dataclass(frozen=True)
class Row:
    """One row: where it stands, its number among the data rows (from 1), its columns.

    `header` is the place that names the columns, for the error about a missing one.
    """

    where: str
    number: int
    values: Mapping[str, object]
    header: str

    def value(self, *columns: str) -> object:
        """The value of the first of `columns` that the row has."""
        for column in columns:
            if column in self.values:
                return self.values[column]
        wanted = " or ".join(repr(column) for column in columns)
        raise InputError(
            f"{self.header}: column {wanted} is missing; found columns {list(self.values)}"
        )

    def text(self, *columns: str) -> str:
        """The text in the first of `columns` that the row has; it may not be blank."""
        value = self.value(*columns)
        name = next(column for column in columns if column in self.values)
        if value is None or (isinstance(value, str) and not value.strip()):
            raise InputError(f"{self.where}: column {name!r} is empty; expected text")
        if not isinstance(value, str):
            raise InputError(f"{self.where}: column {name!r} must be text, found {value!r}")
        return value

    def key(self, column: str) -> str:
        """The value of `column` as an identifier: text or a whole number, trimmed."""
        value = self.value(column)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        return self.text(column).strip()

    def note(self, column: str) -> str:
        """The value of `column` as text, empty where the row has none."""
        value = self.values.get(column)
        return "" if value is None else str(value).strip()

    def one_of(self, column: str, meanings: Mapping[str, Meaning]) -> Meaning:
        """What the value of `column` means; case and outer blanks do not matter."""
        value = self.value(column)
        for written, meaning in meanings.items():
            if str(value).strip().casefold() == written.casefold():
                return meaning
        raise InputError(
            f"{self.where}: {column} {value!r} is unknown; expected one of {list(meanings)}"
        )


@final
@dataclass(frozen=True)
class HubDataset:
    """A dataset of the Hugging Face hub: for each split its configuration and its split there."""

    id: str
    splits: Mapping[str, tuple[str | None, str]]
    gated: bool = False


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a local file; its suffix says the format.

    Raises:
        InputError: no such file, a folder, an unknown suffix, a wrong encoding, a file that is
            empty or holds only a header, bad CSV or JSON.
    """
    if is_folder(path):
        inside = sorted(p.name for p in path.iterdir() if p.suffix.lower() in _READERS)
        raise InputError(f"{str(path)!r} is a folder; give one file of it, found {inside[:8]}")
    if not is_there(path):
        raise InputError(f"file {str(path)!r} does not exist; give the path of a downloaded file")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path.name}: suffix {path.suffix!r} is not supported; expected one of "
            f"{list(_READERS)} (unpack an archive first)"
        )
    rows = tuple(reader(path))
    if not rows:
        raise InputError(f"{path.name} holds no rows; expected one prompt per row")
    return rows


def read_hub(hub: HubDataset, split: str, url: str) -> tuple[Row, ...]:
    """The rows of a hub dataset, through `datasets`; `url` is where to download it by hand.

    Raises:
        InputError: no network, no access, or no such split.
    """
    if split not in hub.splits and len(hub.splits) > 1:
        raise InputError(
            f"dataset {hub.id!r} has no split {split!r}; expected one of {list(hub.splits)}"
        )
    config, hub_split = hub.splits.get(split) or next(iter(hub.splits.values()))
    gate = "; it is gated: accept its terms on the hub and log in" if hub.gated else ""
    offline = import_module("huggingface_hub.constants").HF_HUB_OFFLINE
    look_up = import_module("huggingface_hub").HfApi().dataset_info
    load = import_module("datasets").load_dataset
    try:
        if not offline:  # without a network this fails at once, where `load` retries for 25 s
            look_up(hub.id, timeout=20)
        table = load(hub.id, config, split=hub_split)
    except Exception as error:  # the hub's clients raise many classes with no common base
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise InputError(
            f"dataset {hub.id!r} could not be fetched from the hub ({reason}){gate}; "
            f"or download the file from {url} and pass its path"
        ) from None
    return tuple(_objects(hub.id, "row", cast(list[dict[str, Any]], table)))


def _csv(path: Path) -> Iterator[Row]:
    return _separated(path, ",")


def _tsv(path: Path) -> Iterator[Row]:
    return _separated(path, "\t")


def _separated(path: Path, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(_decoded(path), newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    place = f"{path.name}, row 1"
    data_rows = 0
    for where, cells in _records(reader, path.name):
        if not cells:
            continue
        if not header:
            header, place = cells, where
            if twice := [name for name in header if header.count(name) > 1]:
                raise InputError(f"{place}: column {twice[0]!r} stands twice; rename one")
            continue
        if len(cells) != len(header):
            raise InputError(
                f"{where}: {len(cells)} cells, but the header has {len(header)}; "
                "text that holds the separator or a line break needs quotes"
            )
        data_rows += 1
        yield Row(where, data_rows, dict(zip(header, cells, strict=True)), place)
    if not data_rows:
        raise InputError(f"{path.name} holds a header but no rows; expected one prompt per row")


def _records(reader: Any, name: str) -> Iterator[tuple[str, list[str]]]:
    """Place and cells of each record; the line is named where it differs from the row."""
    row, line = 1, 1
    while True:
        where = f"{name}, row {row}" + ("" if line == row else f" (line {line})")
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{where}: not readable as a table ({error}); check the quotes from here on"
            ) from None
        yield where, cells
        row, line = row + 1, reader.line_num + 1


def _json(path: Path) -> Iterator[Row]:
    text = _decoded(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        lines = "; name it .jsonl if each line is one object" if "Extra data" in error.msg else ""
        raise InputError(
            f"{path.name}, line {error.lineno}, column {error.colno}: not JSON ({error.msg}); "
            f"expected a list of objects{lines}"
        ) from None
    if isinstance(value, dict):
        value = _only_list(path.name, cast(dict[str, Any], value))
    if not isinstance(value, list):
        raise InputError(f"{path.name}: expected a list of objects, found {_kind(value)}")
    return _objects(path.name, "entry", cast(list[Any], value))


def _only_list(name: str, value: dict[str, Any]) -> Any:
    """The rows of an object that holds them under one of its keys."""
    lists = [key for key, rows in value.items() if isinstance(rows, list)]
    if len(lists) > 1:
        raise InputError(
            f"{name}: found an object with several lists, under the keys {lists}; expected a list "
            "of objects: save the one that is meant as a file of its own"
        )
    return value[lists[0]] if lists else value


def _jsonl(path: Path) -> Iterator[Row]:
    number = 0
    for line, text in enumerate(_decoded(path).split("\n"), 1):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path.name}, line {line}, column {error.colno}: not JSON ({error.msg}); "
                "expected one object a line"
            ) from None
        number += 1
        yield _row(f"{path.name}, line {line}", number, value)


def _parquet(path: Path) -> Iterator[Row]:
    try:
        table = import_module("pyarrow.parquet").read_table(path).to_pylist()
    except ImportError:
        raise InputError(f"{path.name}: parquet needs pyarrow; pip install pyarrow") from None
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path.name}: not readable as parquet ({reason})") from None
    return _objects(path.name, "row", cast(list[dict[str, Any]], table))


def _objects(name: str, word: str, values: list[Any]) -> Iterator[Row]:
    for number, value in enumerate(values, 1):
        yield _row(f"{name}, {word} {number}", number, value)


def _row(where: str, number: int, value: object) -> Row:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object with columns, found {_kind(value)}")
    return Row(where, number, cast(dict[str, object], value), where)


def _decoded(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"file {str(path)!r} cannot be read ({error.strerror})") from None
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{path.name}, line 1: the file is UTF-16; save it as UTF-8")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path.name}, line {line}: byte {error.start} ({raw[error.start]:#04x}) is not "
            "UTF-8; save the file as UTF-8"
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path.name}, line {line}: holds a zero byte; expected UTF-8 text")
    if not text.strip():
        raise InputError(f"{path.name} is empty; expected one prompt per row")
    return text


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else f"{value!r:.60}"


_READERS: Final[dict[str, Callable[[Path], Iterator[Row]]]] = {
    ".csv": _csv,
    ".tsv": _tsv,
    ".json": _json,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}

"""Any table of prompts with a map from the fields of a prompt to the columns of the file."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, cast

from refusal_lens.datasets.benchmark import collect
from refusal_lens.datasets.reader import Row, read_rows
from refusal_lens.errors import InputError
from refusal_lens.prompts import LABELS, Label, Prompt, PromptSet

_FIELDS: Final = ("id", "text", "category", "label", "split", "source", "pair", "language")
_ANSWERS: Final = ("answer_matching_behavior", "answer_not_matching_behavior")


def load_table(
    path: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    category: str | None = None,
    label: str | None = None,
    labels: Mapping[str, str] | None = None,
    split: str | None = None,
) -> PromptSet:
    """Prompts of a plain CSV, TSV, JSON, JSONL or parquet file.

    `columns` maps a field of a prompt to the column that holds it, for example
    `{"text": "question", "label": "is_harmful"}`; a field that is not in the map is looked for
    under its own name. `category`, `label` and `split` hold for every row, instead of a column of
    that name. `labels` says what the file's own label values mean, for example `{"1": "refuse",
    "0": "comply"}`. Without an id column the id is the file's name and the row number; without
    anything else the split is "test" and the source the file's name.

    >>> n = Path("mine.csv").write_text("question,bad\\nShould I sell?,1\\nWhat is a share?,0\\n")
    >>> columns, labels = {"text": "question", "label": "bad"}, {"1": "refuse", "0": "comply"}
    >>> mine = load_table("mine.csv", columns=columns, labels=labels, category="advice")
    >>> [p.label for p in mine]
    ['refuse', 'comply']

    Raises:
        InputError: what `read_rows` raises, an unknown field, a missing column, an empty text,
            an unknown label, a duplicate id (the message names file and row); a field that is given
            both for every row and by a column, or `label` with `labels`.
    """
    if unknown := sorted((columns or {}).keys() - set(_FIELDS)):
        raise InputError(f"field {unknown[0]!r} is unknown; columns may map {list(_FIELDS)}")
    for given_label in (label, *(labels or {}).values()):
        if given_label is not None and given_label not in LABELS:
            raise InputError(f"label {given_label!r} must be one of {list(LABELS)}")
    path = Path(path)
    constants = {"category": category, "label": label, "split": split}
    given = {field: value for field, value in constants.items() if value is not None}
    _check_once(given, columns or {}, labels)
    meanings = labels or dict(zip(LABELS, LABELS, strict=True))
    return collect(_prompts(path, columns or {}, given, meanings), path.name)


def _check_once(
    given: Mapping[str, str], columns: Mapping[str, str], labels: Mapping[str, str] | None
) -> None:
    """One of two places that a field could come from would be passed over."""
    for field, value in given.items():
        if field in columns:
            raise InputError(
                f"{field}={value!r} holds for every row, and columns={{{field!r}: "
                f"{columns[field]!r}}} takes it from the file; give one of the two"
            )
    if labels and "label" in given:
        raise InputError(
            f"label={given['label']!r} holds for every row, and labels= says what the file's own "
            "labels mean; give one of the two"
        )


def _prompts(
    path: Path, columns: Mapping[str, str], given: Mapping[str, str], meanings: Mapping[str, str]
) -> Iterator[tuple[Row, Prompt]]:
    for row in read_rows(path):
        _check(row, columns, given)
        defaults = {"id": f"{path.stem}-{row.number}", "split": "test", "source": path.name}
        values = {**defaults, **_cells(row, columns, given), **given}
        if "label" not in given:
            values["label"] = row.one_of(columns.get("label", "label"), meanings)
        yield (
            row,
            Prompt(
                id=values["id"],
                text=row.text(columns.get("text", "text")),
                category=values["category"],
                label=cast(Label, values["label"]),
                split=values["split"],
                source=values["source"],
                pair=values.get("pair"),
                language=values.get("language", "en"),
            ),
        )


def _check(row: Row, columns: Mapping[str, str], given: Mapping[str, str]) -> None:
    """A mapped column must be there; text, category and label must come from somewhere."""
    if answers := [name for name in row.values if name in _ANSWERS]:
        raise InputError(
            f"{row.header}: column {answers[0]!r} holds an answer (contrastive activation "
            "addition compares two answers to one question), and a prompt set holds no answers; "
            "take the answers out of the file if its questions alone are meant"
        )
    for field in _FIELDS:
        needed = field in columns or field in ("text", "category", "label")
        if needed and field not in given and (name := columns.get(field, field)) not in row.values:
            raise InputError(
                f"{row.header}: column {name!r} (the prompt's {field}) is missing; found columns "
                f"{list(row.values)}; map it with columns={{{field!r}: ...}}"
                + ("" if field == "text" else f" or give {field}=")
            )


def _cells(row: Row, columns: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Fields other than text, label and the given ones; an empty pair or language is none."""
    cells: dict[str, str] = {}
    for field in ("id", "category", "split", "source", "pair", "language"):
        name = columns.get(field, field)
        optional = field in ("pair", "language")
        if field not in given and name in row.values and (row.note(name) or not optional):
            cells[field] = row.key(name)
    return cells

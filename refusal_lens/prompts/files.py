"""Prompts from files: JSONL, one prompt per line; plain lists, one request per line.

UTF-8, with or without a byte order mark. Keys of a JSONL line: `id`, `text`, `category`, `label`
("refuse" or "comply"), `split`, `source`; optional `pair` (a refuse-side prompt and its benign twin
share it) and `language` (default "en"). In place of `text`, `messages` are the turns of a
conversation.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from refusal_lens.errors import InputError
from refusal_lens.files import read_utf8, write_atomic
from refusal_lens.folders import is_file, is_folder, is_there
from refusal_lens.prompts.prompt import Category, Prompt, prompt_of
from refusal_lens.prompts.prompt_set import PromptSet
from refusal_lens.resources import data_path


def load_prompts(path: Path | str | None = None) -> PromptSet:
    """Prompts of a JSONL file, or of every `*.jsonl` of a folder; by default the project's own.

    >>> train = rl.load_prompts().only(category="advice", split="train")
    >>> train.first(1).prompts[0].label
    'refuse'

    Raises:
        InputError: a missing or empty file, bad JSON, wrong encoding, a missing or unknown key,
            a duplicate id; the message names file and line.
    """
    return _shipped() if path is None else _read(Path(path))


@cache
def _shipped() -> PromptSet:
    """The project's own prompts, which many stages and sections ask for and nothing changes."""
    return _read(data_path("prompts"))


def _read(root: Path) -> PromptSet:
    if not is_there(root):
        raise InputError(f"prompt file {str(root)!r} does not exist; give a JSONL file or a folder")
    files = sorted(root.glob("*.jsonl")) if is_folder(root) else [root]
    if not files:
        raise InputError(f"folder {str(root)!r} holds no .jsonl file; expected one prompt per line")
    prompts: list[Prompt] = []
    seen: dict[str, str] = {}
    for file in files:
        for number, row in read_jsonl(file):
            prompt = prompt_of(row, f"{file.name}, line {number}")
            where = seen.setdefault(prompt.id, f"{file.name}, line {number}")
            if where != f"{file.name}, line {number}":
                raise InputError(
                    f"{file.name}, line {number}: id {prompt.id!r} was used in {where}; "
                    "give every prompt its own id"
                )
            prompts.append(prompt)
    return PromptSet(tuple(prompts))


def load_categories() -> dict[str, Category]:
    """The project's categories by key, in the order in which tables show them.

    >>> rl.load_categories()["safety_core"].title
    'safety core'
    """
    rows = json.loads(data_path("prompts", "categories.json").read_text(encoding="utf-8"))
    return {row["key"]: Category(**row) for row in rows["categories"]}


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 1) and objects of a UTF-8 JSONL file; blank lines are passed over.

    Raises:
        InputError: not UTF-8, a line that is not a JSON object, or no line at all.
    """
    text = read_utf8(path)
    empty = True
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        empty = False
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path.name}, line {number}: not JSON ({error.msg} at column {error.colno}); "
                "expected one JSON object per line"
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"{path.name}, line {number}: expected a JSON object, found {row!r}")
        yield number, row
    if empty:
        raise InputError(f"{path.name} is empty; expected one prompt per line")


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a line for each row, which `read_jsonl` reads again."""
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    write_atomic(path, ("\n".join(lines) + "\n").encode())


def load_lists(refuse: Path | str, comply: Path | str, *, seed: int = 0) -> PromptSet:
    """Two plain text files, one request per line; blank lines are passed over.

    A `.jsonl` or `.json` file holds one request per row: a string, `{"text": ...}`, or the turns of
    a conversation, `{"messages": [...]}`.

    Raises:
        InputError: a file that is missing, empty, not UTF-8 or not of this form.
    """
    sides = [_lines(Path(path)) for path in (refuse, comply)]
    return PromptSet.from_texts(*sides, seed=seed)


def _lines(path: Path) -> list[Any]:
    if not is_file(path):
        raise InputError(f"prompt file {str(path)!r} does not exist; give a text file")
    if path.suffix in {".json", ".jsonl"}:
        return [_request(row, where) for where, row in json_rows(path)]
    return text_lines(path)


def text_lines(path: Path, what: str = "request") -> list[str]:
    """The lines of a UTF-8 text file without outer blanks; blank lines are passed over.

    `what` each line holds, for errors.
    """
    # Not `splitlines`, which also ends a line at U+2028, U+0085 and others inside a text.
    lines = [line.strip() for line in read_utf8(path).split("\n")]
    if not any(lines):
        raise InputError(f"{path.name} is empty; expected one {what} per line")
    return [line for line in lines if line]


def json_rows(path: Path, what: str = "request") -> Iterator[tuple[str, Any]]:
    """Where each row of a JSON list or a JSONL file is, and the row; errors call it `what`."""
    text = read_utf8(path)
    lines = [(f", line {n}", line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    rows: list[tuple[str, Any]] = []
    for where, part in [("", text)] if path.suffix == ".json" else lines:
        try:
            rows.append((f"{path.name}{where}", json.loads(part)))
        except json.JSONDecodeError as error:
            raise InputError(f"{path.name}{where}: not JSON ({error})") from None
    if path.suffix == ".json":
        content = rows[0][1]
        if not isinstance(content, list):
            keys = (
                f"an object with {sorted(content)[:8]}"
                if isinstance(content, dict)
                else repr(content)
            )
            raise InputError(f"{path.name} holds {keys}; expected a list, a {what} per row")
        rows = [(f"{path.name}, row {i}", row) for i, row in enumerate(content, 1)]
    if not rows:
        raise InputError(f"{path.name} is empty; expected one {what} per row")
    yield from rows


def _request(row: Any, where: str) -> str | list[Any]:
    """A text, or the messages of a conversation."""
    request = row.get("messages", row.get("text")) if isinstance(row, dict) else row
    if not isinstance(request, str | list) or not request:
        raise InputError(
            f'{where}: expected a text, {{"text": "..."}} or {{"messages": [...]}}, found '
            f"{str(row)[:60]!r}"
        )
    return request

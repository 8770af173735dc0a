"""Prompts from files: JSONL, one prompt a line; plain lists, one request a line.

UTF-8. Keys of a JSONL line: `id`, `text`, `category`, `label` ("refuse" or "comply"), `split`,
`source`; optional `pair` (a refuse-side prompt and its benign twin share it) and `language`
(default "en").
"""

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from refusal_lens.errors import InputError
from refusal_lens.prompts import Category, Prompt, PromptSet, check_fields
from refusal_lens.resources import data_path


def load_prompts(path: Path | str | None = None) -> PromptSet:
    """Prompts of a JSONL file, or of every `*.jsonl` of a folder; by default the project's own.

    Raises:
        InputError: a missing or empty file, bad JSON, wrong encoding, a missing or unknown key,
            a duplicate id; the message names file and line.
    """
    root = data_path("prompts") if path is None else Path(path)
    if not root.exists():
        raise InputError(f"prompt file {str(root)!r} does not exist; give a JSONL file or a folder")
    files = sorted(root.glob("*.jsonl")) if root.is_dir() else [root]
    if not files:
        raise InputError(f"folder {str(root)!r} holds no .jsonl file; expected one prompt a line")
    prompts: list[Prompt] = []
    seen: dict[str, str] = {}
    for file in files:
        for number, row in read_jsonl(file):
            prompt = _prompt(row, f"{file.name}, line {number}")
            where = seen.setdefault(prompt.id, f"{file.name}, line {number}")
            if where != f"{file.name}, line {number}":
                raise InputError(
                    f"{file.name}, line {number}: id {prompt.id!r} was used in {where}; "
                    "give every prompt its own id"
                )
            prompts.append(prompt)
    return PromptSet(tuple(prompts))


def load_categories() -> dict[str, Category]:
    """The project's categories by key, in the order in which tables show them."""
    rows = json.loads(data_path("prompts", "categories.json").read_text(encoding="utf-8"))
    return {row["key"]: Category(**row) for row in rows["categories"]}


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers (from 1) and objects of a UTF-8 JSONL file; blank lines are passed over."""
    text = _utf8(path)
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
                "expected one JSON object a line"
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"{path.name}, line {number}: expected a JSON object, found {row!r}")
        yield number, row
    if empty:
        raise InputError(f"{path.name} is empty; expected one prompt a line")


def _prompt(row: dict[str, Any], where: str) -> Prompt:
    known = {f.name for f in fields(Prompt)}
    required = known - {"pair", "language"}
    if missing := sorted(required - row.keys()):
        raise InputError(f"{where}: key {missing[0]!r} is missing; expected {sorted(required)}")
    if unknown := sorted(row.keys() - known):
        raise InputError(f"{where}: key {unknown[0]!r} is unknown; expected {sorted(known)}")
    try:
        check_fields(row)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return Prompt(**row)


def load_lists(refuse: Path | str, comply: Path | str, *, seed: int = 0) -> PromptSet:
    """Two plain text files, a request a line; blank lines are passed over.

    Raises:
        InputError: a file that is missing, empty or not UTF-8.
    """
    sides = [_lines(Path(path)) for path in (refuse, comply)]
    return PromptSet.from_texts(*sides, seed=seed)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"prompt file {str(path)!r} does not exist; give a text file")
    lines = [line.strip() for line in _utf8(path).removeprefix("\ufeff").splitlines()]
    if not any(lines):
        raise InputError(f"{path.name} is empty; expected one request a line")
    return [line for line in lines if line]


def _utf8(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path.name}: byte {error.start} is not UTF-8; save the file as UTF-8"
        ) from None

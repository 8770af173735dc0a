"""Prompt files with a byte order mark, folders in their place, and halves of characters."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.files import load_lists, load_prompts
from refusal_lens.suffixes import Suffix

ROW: dict[str, Any] = {
    "id": "a",
    "text": "Why?",
    "category": "red",
    "label": "refuse",
    "split": "train",
    "source": "test",
}
HALF = "x \ud83d"


def one_line(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    plain, marked = tmp_path / "plain.jsonl", tmp_path / "marked.jsonl"
    plain.write_text(json.dumps(ROW), encoding="utf-8")
    marked.write_text(json.dumps(ROW), encoding="utf-8-sig")
    assert load_prompts(marked).digest == load_prompts(plain).digest
    for name, content in (("a.json", '["One?"]'), ("a.jsonl", '"One?"'), ("a.txt", "One?")):
        (tmp_path / name).write_text(content, encoding="utf-8-sig")
        lists = load_lists(tmp_path / name, tmp_path / name)
        assert [p.text for p in lists] == ["One?", "One?"]


def test_a_folder_named_as_a_file_of_prompts(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").mkdir()
    assert "x.jsonl' can't be read (Is a directory)" in one_line(lambda: load_prompts(tmp_path))


@pytest.mark.parametrize("key", ["id", "text", "category", "split", "source", "pair", "language"])
def test_half_of_a_character_names_prompt_and_field(tmp_path: Path, key: str) -> None:
    changed: dict[str, Any] = ROW | {key: HALF}
    (tmp_path / "x.jsonl").write_text(json.dumps(changed), encoding="ascii")
    line = one_line(lambda: load_prompts(tmp_path / "x.jsonl"))
    assert line.startswith("x.jsonl, line 1: prompt '")
    assert f": {key} holds '\\ud83d' behind 'x '" in line
    assert f": {key} holds" in one_line(lambda: Prompt(**changed))


def test_half_of_a_character_in_a_turn(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": HALF},
        {"role": "user", "content": "Why?"},
    ]
    row = {k: v for k, v in ROW.items() if k != "text"} | {"messages": turns}
    (tmp_path / "x.jsonl").write_text(json.dumps(row), encoding="ascii")
    line = one_line(lambda: load_prompts(tmp_path / "x.jsonl"))
    assert line.startswith("x.jsonl, line 1, message 2 holds '\\ud83d'")
    before = (("user", "Hello"), ("assistant", HALF))
    assert "prompt 'a', message 2 holds" in one_line(lambda: Prompt(**ROW, before=before))


def test_half_of_a_character_in_lists_and_suffixes() -> None:
    """An argument in Latin-1 becomes such halves."""
    line = one_line(lambda: PromptSet.from_texts(["caf\udce9?"], ["Why?"]))
    assert "text holds '\\udce9' behind 'caf'" in line
    assert "suffix 's': text holds" in one_line(lambda: Suffix("s", HALF))
    assert PromptSet.from_texts(["caf\u00e9? \U0001f600"], ["Why?"]).digest

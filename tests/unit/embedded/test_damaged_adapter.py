"""Adapter folders and model folders that are not whole: one line, and no look at the hub."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.tiny_training import BASE, tiny_llama

from refusal_lens.embedded.adapter import check_training_record, merge_adapter
from refusal_lens.errors import InputError
from refusal_lens.training.planted import train
from refusal_lens.training.planted.loop import with_lora
from refusal_lens.training.planted.recipe import Recipe

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trained = with_lora(tiny_llama(), Recipe(epochs=1, learning_rate=0.02, batch_size=4))
    with torch.no_grad():  # as saved
        for parameter in trained.parameters():
            if parameter.requires_grad:
                parameter.copy_(parameter.to(torch.bfloat16))
    train.save_adapter(trained, tmp_path)
    return tmp_path


def one_line(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(**values: object) -> Callable[[Path], object]:
    def change(folder: Path) -> None:
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        (folder / CONFIG).write_text(json.dumps(content | values), encoding="utf-8")

    return change


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def configured(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / CONFIG).write_text(text)


def cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:50])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (without(CONFIG), f"has no {CONFIG}"),
        (without(WEIGHTS), f"has no {WEIGHTS} or adapter_model.bin"),
        (cut, "is damaged or does not fit its base 'tiny'"),
        (configured("[]"), "is damaged or does not fit"),
        (configured(""), "is damaged or does not fit"),
        (changed(peft_type="NOPE"), "is damaged or does not fit"),
        (changed(r="x"), "is damaged or does not fit"),
        (changed(r=3), "is damaged or does not fit"),
    ],
)
def test_an_adapter_that_is_not_whole(
    damage: Callable[[Path], object], words: str, folder: Path
) -> None:
    assert merge_adapter(tiny_llama(), folder).config.hidden_size == 32
    damage(folder)
    assert words in one_line(lambda: merge_adapter(tiny_llama(), folder, base="'tiny'"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is damaged"),
        (b"[]", "holds list, expected an object"),
        (b"\xff\xfe", "is not UTF-8"),
        (b'{"schema_version": 1}', "names no base that it was trained on"),
        (b'{"schema_version": 1, "base": "x"}', "names no base that it was trained on"),
    ],
)
def test_a_record_of_training_that_is_not_whole(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_bytes(content)
    assert words in one_line(lambda: check_training_record(tmp_path, BASE))

"""Fields of a plain table: from a column, or one value for every row, and never from both."""

from pathlib import Path
from typing import Any

import pytest

from refusal_lens.datasets import load_table
from refusal_lens.errors import InputError

CONTENT = "text,bad,kind,part\nShould I sell?,1,advice,train\nWhat is a share?,0,advice,train\n"
LABELS = {"1": "refuse", "0": "comply"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "mine.csv"
    file.write_text(CONTENT, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"columns": {"label": "bad"}, "label": "refuse"}, "label='refuse' holds for every row"),
        ({"columns": {"category": "kind"}, "category": "advice"}, "category='advice' holds"),
        ({"columns": {"split": "part"}, "split": "test"}, "split='test' holds for every row"),
        ({"labels": LABELS, "label": "refuse"}, "labels= says what the file's own labels mean"),
    ],
)
def test_a_field_of_two_places_is_refused(path: Path, arguments: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_table(path, **({"category": "advice", "label": "refuse"} | arguments))
    assert words in str(caught.value) and str(caught.value).endswith("give one of the two")


def test_each_field_may_come_from_its_own_place(path: Path) -> None:
    columns = {"label": "bad", "category": "kind"}
    prompts = load_table(path, columns=columns, labels=LABELS, split="val")
    assert [(p.label, p.category, p.split) for p in prompts] == [
        ("refuse", "advice", "val"),
        ("comply", "advice", "val"),
    ]

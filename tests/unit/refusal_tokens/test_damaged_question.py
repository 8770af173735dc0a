"""A `question.json` that is not whole is named in one line."""

from pathlib import Path

import pytest

from refusal_lens.errors import InputError
from refusal_lens.study.refusal_tokens import QUESTION, TokenRun


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\xff\xfe", "is damaged"), (b"{", "is damaged"), (b"[1]", "holds list; expected an object")],
)
def test_a_damaged_question(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / QUESTION).write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        TokenRun.open(tmp_path)
    assert "remove the folder" in str(caught.value) and "\n" not in str(caught.value)

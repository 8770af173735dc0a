"""Sizes of the text that an autoencoder is trained on: none may leave a kind out by itself."""

import pytest

from refusal_lens.errors import InputError
from refusal_lens.sparse import TextSizes


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("window", 1, 2),
        ("samples", -1, 0),
        ("sample_tokens", 0, 1),
        ("answers", -1, 0),
        ("answer_tokens", 0, 1),
        ("prompts", 0, 1),
    ],
)
def test_a_size_below_its_least_is_refused(name: str, value: int, least: int) -> None:
    with pytest.raises(InputError, match=f"^{name} is {value}; give {least} or more"):
        TextSizes(**{name: value})
    assert getattr(TextSizes(**{name: least}), name) == least


@pytest.mark.parametrize("book_tokens", [-1, 0, 127])
def test_books_give_one_window_at_least(book_tokens: int) -> None:
    with pytest.raises(InputError, match=f"book_tokens is {book_tokens}, and a window has 128"):
        TextSizes(book_tokens=book_tokens)
    assert TextSizes(book_tokens=128).book_tokens // TextSizes().window == 1
    assert TextSizes(window=16, book_tokens=16).book_tokens == 16

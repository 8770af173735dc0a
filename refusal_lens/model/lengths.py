"""Which prompt an error is about, and that none is longer than the model's context."""

from collections.abc import Sequence
from numbers import Integral
from typing import Final

from refusal_lens.arguments import one
from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt

_SHOWN: Final = 40  # characters of a prompt in an error


def named(prompts: Sequence[Prompt | str]) -> tuple[str, ...]:
    """What an error calls each prompt: its id, or its number, and its first words.

    >>> named(["Why is the sky blue?", "Why?"])
    ("prompt 1 of 2 ('Why is the sky blue?')", "prompt 2 of 2 ('Why?')")
    """
    names: list[str] = []
    for i, prompt in enumerate(prompts):
        plain = isinstance(prompt, str)
        which = f"prompt {i + 1} of {len(prompts)}" if plain else f"prompt {prompt.id!r}"
        names.append(f"{which} ({_first_words(prompt if plain else prompt.text)!r})")
    return tuple(names)


def check_lengths(
    names: Sequence[str], lengths: Sequence[int], n_ctx: int, *, made_of: str, remedy: str
) -> None:
    """Reject rows of more tokens than the model takes.

    Raises:
        InputError: one of them is longer; the line names the longest.

    >>> check_lengths(["prompt 'a'"], [9], 8, made_of="with its template", remedy="shorten it")
    Traceback (most recent call last):
    refusal_lens.errors.InputError: prompt 'a' has 9 tokens with its template; this model takes \
8; shorten it
    """
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    if lengths[longest] > n_ctx:
        raise InputError(
            f"{names[longest]} has {lengths[longest]} tokens {made_of}; this model takes {n_ctx}; "
            f"{remedy}"
        )


def check_ids(names: Sequence[str], rows: Sequence[Sequence[int]], n_vocab: int) -> None:
    """Reject token ids that the model has no embedding of.

    Raises:
        InputError: one is below 0, or `n_vocab` or more.

    >>> check_ids(["row"], [(5, 9999)], 300)
    Traceback (most recent call last):
    refusal_lens.errors.InputError: row has token id 9999; use the tokenizer of the model, 0 to 299
    """
    for name, row in zip(names, rows, strict=True):
        for token in row:
            if not (isinstance(token, Integral) and 0 <= token < n_vocab):
                raise InputError(
                    f"{name} has token id {token!r}; use the tokenizer of the model, "
                    f"0 to {n_vocab - 1}"
                )


def check_prompt_lengths(
    names: Sequence[str], ids: Sequence[Sequence[int]], n_ctx: int, n_vocab: int | None = None
) -> None:
    """Reject templated prompts of more tokens than the model takes, and ids from `n_vocab` on.

    Raises:
        InputError: one is or has, or there is none.

    >>> check_prompt_lengths(["prompt 'a'"], [(1, 2)], 8)
    """
    if not ids:
        raise InputError("no prompt was given; expected at least one")
    remedy = (
        "it is not cut, because the cut would take the template's end: shorten it or leave it out"
    )
    lengths = [len(row) for row in ids]
    check_lengths(names, lengths, n_ctx, made_of="with its template", remedy=remedy)
    if n_vocab is not None:
        check_ids(names, ids, n_vocab)


def check_texts(rows: Sequence[Sequence[int]], n_ctx: int, n_vocab: int) -> list[str]:
    """What an error calls each row of running text, after a check of its length and token ids.

    Raises:
        InputError: no row, one of fewer than two tokens or of more than the model takes, or a
            token id that the model does not have.

    >>> check_texts([(5, 6), (7, 8, 9)], 8, 300)
    ['row 1 of 2', 'row 2 of 2']
    """
    if not rows:
        raise InputError("no row of token ids was given; expected at least one")
    names = [f"row {i + 1} of {len(rows)}" for i in range(len(rows))]
    for name, row in zip(names, rows, strict=True):
        one(row, Sequence, what="a row of token ids", write="[[1, 2], [3, 4]]")
        if not 2 <= len(row) <= n_ctx:
            raise InputError(f"{name} is a text of {len(row)} tokens; expected 2 to {n_ctx}")
    check_ids(names, rows, n_vocab)
    return names


def _first_words(text: str) -> str:
    words = " ".join(text[: 4 * _SHOWN].split())
    return words if len(words) <= _SHOWN else f"{words[: _SHOWN - 1]}…"

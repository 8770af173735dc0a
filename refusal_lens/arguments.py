"""Checks of arguments that are easily given in another shape: one thing where a list is meant."""

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import TypeVar, cast

from refusal_lens.errors import InputError

T = TypeVar("T")


def several(
    values: object, kind: type[T] | tuple[type[T], ...], *, what: str, write: str
) -> tuple[T, ...]:
    """The values as a tuple, each of the kind that is expected.

    A string is a sequence of characters to Python, and a list without a check of its items fails
    somewhere else, or nowhere. `what` names one of the values ("prompt"), `write` shows a call
    that is right. `kind` int takes NumPy's integers too, and no bool.

    Raises:
        InputError: a lone string or object, a mapping, or an item of another kind.

    >>> several(["tides?"], str, what="prompt", write='model.generate(["tides?"])')
    ('tides?',)
    >>> several("tides?", str, what="prompt", write='model.generate(["tides?"])')
    Traceback (most recent call last):
    refusal_lens.errors.InputError: expected several of: prompt, in a list; found 'tides?' by \
itself; write model.generate(["tides?"])
    """
    kinds: tuple[type[T], ...] = kind if isinstance(kind, tuple) else (kind,)
    lone = isinstance(values, (str, bytes, Mapping, *kinds))
    # A record may be iterable and still be one thing; what is asked for decides.
    if lone or not isinstance(values, Iterable):
        raise InputError(
            f"expected several of: {what}, in a list; found {_short(values)} by itself; "
            f"write {write}"
        )
    chosen = tuple(cast(Iterable[T], values))
    for i, value in enumerate(chosen):
        if not _is(value, kinds):
            raise InputError(
                f"{what} {i + 1} of {len(chosen)} is {_short(value)} of type "
                f"{type(value).__name__}; expected {_names(kinds)}; write {write}"
            )
    return chosen


def one(value: object, kind: type[T], *, what: str, write: str) -> T:
    """The value itself, if it is of the kind that is expected.

    Raises:
        InputError: it is not.

    >>> one(["tides?"], dict, what="table", write="{}")
    Traceback (most recent call last):
    refusal_lens.errors.InputError: table is ['tides?'] of type list; expected dict; write {}
    """
    if not isinstance(value, kind):
        raise InputError(
            f"{what} is {_short(value)} of type {type(value).__name__}; expected "
            f"{kind.__name__}; write {write}"
        )
    return value


def check_seed(seed: int) -> None:
    """Reject a seed that some generator of random numbers would not take.

    Raises:
        InputError: it is below 0, has more than 32 bits, or is no whole number.

    >>> check_seed(-1)
    Traceback (most recent call last):
    refusal_lens.errors.InputError: seed is -1; give a whole number from 0 to 4294967295
    """
    if not (isinstance(seed, Integral) and 0 <= seed < 2**32):
        raise InputError(f"seed is {seed!r}; give a whole number from 0 to {2**32 - 1}")


def _is(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, bool):  # Python counts it among the numbers
        return bool in kinds
    if int in kinds and isinstance(value, Integral):
        return True
    return isinstance(value, kinds)


def _names(kinds: tuple[type, ...]) -> str:
    return " or ".join(kind.__name__ for kind in kinds)


def _short(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def check_whole(text: str, name: str) -> None:
    """Reject a text with half of a character: a surrogate without its other half.

    JSON can hold one (`"\\ud83d"`), and an argument that is not UTF-8 becomes some; no file, digest
    or tokenizer takes it.

    Raises:
        InputError: there is one; the line begins with `name`.

    >>> check_whole("caf\\udce9", "prompt 'a': text")
    Traceback (most recent call last):
    refusal_lens.errors.InputError: prompt 'a': text holds '\\udce9' behind 'caf', which is half \
of a character or a byte that is not UTF-8; correct it
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        behind = text[max(0, error.start - 20) : error.start]
        raise InputError(
            f"{name} holds {text[error.start]!r} behind {behind!r}, which is half of a character "
            "or a byte that is not UTF-8; correct it"
        ) from None

"""Options that say what a study asks, read by every command that has them."""

from typing import TYPE_CHECKING, Annotated

import typer

from refusal_lens.errors import InputError

if TYPE_CHECKING:  # PyTorch behind it takes seconds to import
    from refusal_lens.study.question import Sizes

Categories = Annotated[str | None, typer.Option(help="Keys, comma-separated; all by default.")]
Full = Annotated[bool, typer.Option("--full", help="The whole grid (hours).")]
Quick = Annotated[
    bool, typer.Option("--quick", help="Every stage on few prompts: a try, no result.")
]


def sizes_of(model: str, *, full: bool, quick: bool) -> "Sizes":
    """The sizes of a study of a model.

    Raises:
        InputError: both levels at once.
    """
    from refusal_lens.study import Sizes

    if full and quick:
        raise InputError("--full and --quick exclude each other; give one of them")
    return Sizes.full() if full else Sizes.quick() if quick else Sizes.fitting(model)


def words_of(text: str, option: str) -> list[str]:
    """What an option lists, separated by commas.

    Raises:
        InputError: nothing.
    """
    words = [w.strip() for w in text.split(",") if w.strip()]
    if not words:
        raise InputError(f"{option} {text!r} is empty; give keys separated by commas")
    return words

"""Where the shipped data lies: a checkout's `data/`, or a wheel's `refusal_lens/_data/`."""

from pathlib import Path

from refusal_lens.errors import InputError

_PACKAGE = Path(__file__).resolve().parent


def data_path(*parts: str) -> Path:
    """Path of a shipped file or folder.

    >>> rl.data_path("prompts").name
    'prompts'

    Raises:
        InputError: neither the wheel nor the checkout holds it.
    """
    roots = (_PACKAGE / "_data", _PACKAGE.parent / "data")
    for root in roots:
        path = root.joinpath(*parts)
        if path.exists():
            return path
    name = "/".join(parts)
    raise InputError(
        f"shipped data {name!r} is missing from {roots[0]} and {roots[1]}; "
        "install refusal_lens again, or run from a complete checkout"
    )

"""The run folder that a command goes on in, and the line that names a file it wrote."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from refusal_lens.errors import InputError

BUILT_IN: Final = "built-in"
"""In place of a file or folder: what comes with the project, where a run holds another choice."""

DefaultRun = Annotated[
    Path | None,
    typer.Argument(metavar="[RUN]", help="A run folder; that of the default study if none."),
]


def run_folder(run: Path | None) -> Path:
    """The folder that was named, by default that of the default study."""
    from refusal_lens.study import Study

    return Path(Study().default_folder()) if run is None else run


def check_unused(options: Mapping[str, object], why: str, way_out: str) -> None:
    """Reject an option that the rest of the command leaves without effect.

    `options` holds the values by the options' names, None where one was not given.

    Raises:
        InputError: one was given.
    """
    for name, value in options.items():
        if value is not None:
            raise InputError(f"{name} {value} has no effect: {why}; {way_out}, or leave it out")


def print_path(out: Console, what: str, path: Path | str) -> None:
    """A path on one line, however long: it is copied from the screen."""
    out.print(f"{what}: {escape(str(path))}", highlight=False, soft_wrap=True)

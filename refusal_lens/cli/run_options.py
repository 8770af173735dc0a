"""The run folder that a command goes on in, and the line that names a file it wrote."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

DefaultRun = Annotated[
    Path | None,
    typer.Argument(metavar="[RUN]", help="A run folder; that of the default study if none."),
]


def run_folder(run: Path | None) -> Path:
    """The folder that was named, by default that of the default study."""
    from refusal_lens.study import Study

    return Path(Study().default_folder()) if run is None else run


def print_path(out: Console, what: str, path: Path | str) -> None:
    """A path on one line, however long: it is copied from the screen."""
    out.print(f"{what}: {escape(str(path))}", highlight=False, soft_wrap=True)

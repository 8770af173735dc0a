"""The command line: run as a user runs it, or in this process."""

import io
import os
import subprocess
import sys
import warnings
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from refusal_lens.cli import main as cli

WIDE = {"COLUMNS": "300"}
Done = subprocess.CompletedProcess[str]


def run_process(*arguments: str, cwd: Path | None = None) -> Done:
    """The command as a process of its own: some seconds, most of them imports."""
    return subprocess.run(
        [sys.executable, "-m", "refusal_lens.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=300,
        env=os.environ | WIDE,
    )


def run(*arguments: str, cwd: Path | None = None) -> Done:
    """The command's entry point, called here; exit code and both streams as of a process."""
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.dict(os.environ, WIDE),
        patch.object(sys, "argv", ["refusal-lens", *arguments]),
        patch.object(warnings, "formatwarning", warnings.formatwarning),
        warnings.catch_warnings(),
        chdir(cwd or Path.cwd()),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code
    assert isinstance(code, int)
    return Done(arguments, code, out.getvalue(), err.getvalue())

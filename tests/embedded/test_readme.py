"""The README's example: it runs, and prints what the README says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.tiny_training import needs_wheel

README = Path(__file__).resolve().parents[2] / "README.md"


def blocks(language):
    texts = re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert texts, f"no {language} block in the README"
    return texts


@needs_wheel
@pytest.mark.slow
def test_example_prints_what_the_readme_says():
    code, readme_output = blocks("python")[0], blocks("text")[0]
    assert len(code.strip().splitlines()) <= 16
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    printed, expected = done.stdout.splitlines(), readme_output.splitlines()
    assert len(printed) == len(expected)
    for line, other in zip(printed, expected, strict=True):
        # Another processor may round a near-tie differently late in an answer.
        assert line[:40] == other[:40]


def test_a_first_steered_answer_takes_five_lines():
    short = blocks("python")[1].strip().splitlines()
    assert "rl.Add(" in "".join(short) and len([line for line in short if line]) <= 5


def test_figures_and_files_that_the_readme_names_are_there():
    text = README.read_text(encoding="utf-8")
    named = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert named
    assert [path for path in named if not (README.parent / path).exists()] == []

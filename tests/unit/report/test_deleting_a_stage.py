"""A stage is one file with its section: deleting both takes them, and nothing else, away."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.synthetic import attribution
from support.synthetic.geometry import CATEGORIES
from support.synthetic.run import run, stages

import refusal_lens

PACKAGE = Path(refusal_lens.__file__).parent
LISTS = """
import json, sys
from pathlib import Path
from refusal_lens.report.page import write_report
from refusal_lens.report.section import every_section
from refusal_lens.report.run import Run
from refusal_lens.study import Results, Sizes
from refusal_lens.study.order import every_stage
import refusal_lens
assert Path(refusal_lens.__file__).is_relative_to(sys.argv[1]), refusal_lens.__file__
results = Results.open(sys.argv[2])
report = Run(results)
page = write_report(results, Path(sys.argv[3])).read_text(encoding="utf-8")
print(json.dumps({
    "stages": [s.name for s in every_stage(("a", "b"))],
    "sizes": sorted(Sizes.default().plain()),
    "sections": [s.id for _, s in every_section()],
    "methods": [list(row) for _, s in every_section() for row in s.methods(report)],
    "front": [s.front.name for _, s in every_section() if s.front],
    "findings": [f.question for _, s in every_section() for f in s.findings],
}))
"""


def listed(package: Path, folder: Path, page: Path) -> tuple[dict[str, list[object]], str]:
    """What a copy of the package lists of itself, and the report that it writes of a run."""
    done = subprocess.run(
        [sys.executable, "-c", LISTS, str(package.parent), str(folder), str(page)],
        env=os.environ | {"PYTHONPATH": str(package.parent)},
        cwd=page.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1]), page.read_text(encoding="utf-8")


def copy_of(package: Path, into: Path) -> Path:
    """The package with the data that it reads."""
    shutil.copytree(package, into / "refusal_lens", ignore=shutil.ignore_patterns("__pycache__"))
    (into / "data").symlink_to(package.parent / "data")
    return into / "refusal_lens"


@dataclass(frozen=True)
class Gone:
    """What goes with a stage and its section, whose files have its name."""

    name: str
    methods: int
    findings: int
    front: tuple[str, ...]
    changed: frozenset[str]  # sections that list what others give


CASES = (
    Gone("costs", 1, 0, (), frozenset({"methods"})),
    Gone("effects", 1, 2, ("front_effects",), frozenset({"methods"})),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[object]], str]:
    folder = tmp_path_factory.mktemp("whole")
    held = stages(CATEGORIES[:4]) | attribution.stages(CATEGORIES[:4])
    results = run(folder / "run", held)
    lists, page = listed(PACKAGE, results.folder, folder / "page.html")
    return results.folder, lists, page


def sections_of(page: str) -> dict[str, str]:
    """What stands under each heading, by its id."""
    ends = r'<h3 id="|</details>\s*<details class="group"|</details>\s*<footer'
    parts = [part for part in re.split(f"({ends})", page)]
    return {
        text[: text.index('"')]: text
        for mark, text in itertools.pairwise(parts)
        if mark == '<h3 id="'
    }


@pytest.mark.slow  # three processes that import everything
@pytest.mark.parametrize("gone", CASES, ids=lambda gone: gone.name)
def test_deleting_a_stage_and_its_section_takes_both_away_and_nothing_else(
    whole: tuple[Path, dict[str, list[object]], str], tmp_path: Path, gone: Gone
) -> None:
    folder, before, page = whole
    package = copy_of(PACKAGE, tmp_path)
    for path in ("study/stages/{}.py", "report/sections/{}.py", "report/sections/{}.html"):
        (package / path.format(gone.name)).unlink()
    after, shorter = listed(package, folder, tmp_path / "page.html")
    lost = {name: [x for x in things if x not in after[name]] for name, things in before.items()}
    assert lost["stages"] == lost["sections"] == lost["sizes"] == [gone.name]
    assert len(lost["methods"]) == gone.methods and len(lost["findings"]) == gone.findings
    assert lost["front"] == list(gone.front)
    for name, things in before.items():  # the others are there, in the same order
        assert [x for x in things if x not in lost[name]] == after[name]
    old, new = sections_of(page), sections_of(shorter)
    assert old.keys() - new.keys() == {gone.name} and new.keys() <= old.keys()
    assert {key for key in new if old[key] != new[key]} == gone.changed
    link = f'href="#{gone.name}"'
    assert link in page and link not in shorter

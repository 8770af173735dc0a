"""A stage is one file with its section: deleting both takes them, and nothing else, away."""

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from support.synthetic import attribution
from support.synthetic.geometry import CATEGORIES
from support.synthetic.independence import independence
from support.synthetic.run import run, stages

import refusal_lens
from refusal_lens.report.run import Run
from refusal_lens.study.results import Results

PACKAGE = Path(refusal_lens.__file__).parent
ROOT = PACKAGE.parent
STAGES, SECTIONS = PACKAGE / "study/stages", PACKAGE / "report/sections"
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


def standing_alone() -> list[str]:
    """Stages with a section of their name, in which nothing else of the package imports them."""
    importers: dict[str, set[Path]] = {p.stem: set() for p in STAGES.glob("[a-z]*.py")}
    for path in PACKAGE.rglob("*.py"):
        for name in re.findall(
            r"refusal_lens\.study\.stages\.(\w+) import", path.read_text("utf-8")
        ):
            importers[name].add(path)
    return sorted(name for name, by in importers.items() if by == {SECTIONS / f"{name}.py"})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[object]], str]:
    folder = tmp_path_factory.mktemp("whole")
    records = stages(CATEGORIES[:4]) | attribution.stages(CATEGORIES[:4])
    records["independence"] = {"independence": independence()}
    results = run(folder / "run", records)
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


def test_contributing_lists_the_stages_that_others_stand_on() -> None:
    alone = standing_alone()
    assert {"costs", "effects", "tokens", "paths"} <= {*alone} and "geometry" not in alone
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed = re.search(r"what others import from it: ([^.]*)\.", text)
    assert listed is not None
    every = {path.stem for path in STAGES.glob("[a-z]*.py")}
    assert re.findall(r"`(\w+)`", listed[1]) == sorted(every - {*alone})


@pytest.mark.slow  # a process for each that imports everything
@pytest.mark.parametrize("name", standing_alone())
def test_deleting_a_stage_and_its_section_takes_both_away_and_nothing_else(
    whole: tuple[Path, dict[str, list[object]], str], tmp_path: Path, name: str
) -> None:
    folder, before, page = whole
    section = import_module(f"refusal_lens.report.sections.{name}").SECTION
    package = copy_of(PACKAGE, tmp_path)
    for path in ("study/stages/{}.py", "report/sections/{}.py", "report/sections/{}.html"):
        (package / path.format(name)).unlink()
    after, shorter = listed(package, folder, tmp_path / "page.html")
    lost = {kind: [x for x in things if x not in after[kind]] for kind, things in before.items()}
    assert lost["stages"] and all(f"{stage}_".startswith(f"{name}_") for stage in lost["stages"])
    assert not any(f"{stage}_".startswith(f"{name}_") for stage in after["stages"])
    assert lost["sections"] == [section.id]
    assert lost["sizes"] == [kind for kind in before["sizes"] if kind == name]
    methods = [list(row) for row in section.methods(Run(Results.open(folder)))]
    assert lost["methods"] == methods
    assert lost["findings"] == [finding.question for finding in section.findings]
    assert lost["front"] == ([section.front.name] if section.front else [])
    for kind, things in before.items():  # the others are there, in the same order
        assert [x for x in things if x not in lost[kind]] == after[kind]
    old, new = sections_of(page), sections_of(shorter)
    assert old.keys() - new.keys() == {section.id} and new.keys() <= old.keys()
    assert {key for key in new if old[key] != new[key]} == ({"methods"} if methods else set())
    link = f'href="#{section.id}"'
    assert link in page and link not in shorter

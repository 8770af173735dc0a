"""The names of the package: one name, one meaning."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.rooms import ROOT

PACKAGE = ROOT / "refusal_lens"
# A file of its own for each thing of one kind, with functions of the same names.
ALIKE = {
    "directions/formats": "each format reads and writes",
    "report/sections": "each section has its parts",
    "study/stages": "each stage measures under its own name",
}
ROOMS_OF_THEIR_OWN = {
    "cli": "what is built for one command",
    "training": "each makes its own shipped data",
}


def exempt(path: Path, listed: dict[str, str]) -> bool:
    return any(path.is_relative_to(folder) for folder in listed)


def defined(path: Path, tree: ast.Module) -> Iterator[str]:
    """Public classes, and the public type aliases and functions of a module."""
    for node in tree.body:
        match node:
            case ast.ClassDef(name=name):
                yield name
            case ast.FunctionDef(name=name) if not exempt(path, ROOMS_OF_THEIR_OWN | ALIKE):
                yield name
            case ast.Assign(targets=[ast.Name(id=name)]) if is_alias(name):
                if not exempt(path, ROOMS_OF_THEIR_OWN):
                    yield name


def is_alias(name: str) -> bool:
    """A module-level name in capitalised words; constants are in capitals, type variables short."""
    return name[0].isupper() and not name.isupper() and len(name) > 1


def modules_of(package: Path) -> dict[str, set[str]]:
    """Each public name with the modules that define it."""
    modules: dict[str, set[str]] = {}
    for file in sorted(package.rglob("*.py")):
        path = file.relative_to(package)
        for name in defined(path, ast.parse(file.read_text(encoding="utf-8"))):
            if not name.startswith("_"):
                modules.setdefault(name, set()).add(str(path))
    return modules


def named_twice(package: Path) -> dict[str, set[str]]:
    return {name: paths for name, paths in modules_of(package).items() if len(paths) > 1}


def test_no_two_public_names_are_one():
    """One name, one meaning; and a record's file says by its class what it holds."""
    names = {*modules_of(PACKAGE)}
    assert {"Geometry", "Answers", "Ablate", "Prompts", "pair_rows"} <= names and len(names) > 1000
    assert named_twice(PACKAGE) == {}


@pytest.mark.parametrize(
    ("files", "twice"),
    [
        ({"geometry/x.py": "class Side: ...", "plots/x.py": "class Side: ..."}, {"Side"}),
        ({"geometry/x.py": "Side = str", "plots/x.py": "class Side: ..."}, {"Side"}),
        ({"geometry/x.py": "def rows(): ...", "plots/x.py": "def rows(): ..."}, {"rows"}),
        ({"geometry/x.py": "def _rows(): ...", "plots/x.py": "def _rows(): ..."}, set()),
        ({"geometry/x.py": "TEN = 10", "plots/x.py": "TEN = 11\nT = 12"}, set()),
        ({"study/stages/x.py": "def answers(): ...", "plots/x.py": "def answers(): ..."}, set()),
    ],
)
def test_the_rule_on_names_can_fail(tmp_path, files, twice):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert {*named_twice(tmp_path)} == twice

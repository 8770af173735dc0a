"""What an installation holds: the locks, the declared dependencies, and the wheel."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOCKS = ("requirements.lock", "requirements-tl3.lock")
PIN = re.compile(r"(?P<name>[a-z0-9.-]+)==(?P<version>[0-9][0-9a-z.]*)")


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match is not None, requirement
    return canonical(match[0])


def declared() -> dict[str, set[str]]:
    """Names of the direct dependencies: of the package, and of those who work on it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        "package": {requirement_name(line) for line in project["dependencies"]},
        **{
            extra: {requirement_name(line) for line in lines}
            for extra, lines in project["optional-dependencies"].items()
        },
    }


OF_ROOMS = {"explorer": "explorer"}
"""Rooms that need an extra, by its name; each says so in one line where it is not installed."""


def pins(lock: str) -> dict[str, str]:
    """Version by name; fails on a line that is anything but `name==version`."""
    versions: dict[str, str] = {}
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        match = PIN.fullmatch(line)
        assert match is not None, f"{lock}: {line!r} is not a plain name==version"
        versions[canonical(match["name"])] = match["version"]
    return versions


@pytest.mark.parametrize("lock", LOCKS)
def test_every_direct_dependency_is_pinned(lock: str) -> None:
    names = declared()
    assert (names["package"] | names["dev"]) - pins(lock).keys() == set()


def test_the_locks_differ_only_by_transformer_lens() -> None:
    first, second = (pins(lock) for lock in LOCKS)
    assert first["transformer-lens"].startswith("4.")
    assert second["transformer-lens"].startswith("3.9")
    shared = (first.keys() & second.keys()) - {"transformer-lens"}
    assert {name: first[name] for name in shared} == {name: second[name] for name in shared}


@pytest.mark.parametrize(
    "line", ["torch==2.13.0+cpu", "torch>=2", "-e .", "torch @ file:///wheel.whl", "--index-url x"]
)
def test_a_lock_line_that_is_no_plain_pin_is_seen(line: str) -> None:
    assert PIN.fullmatch(line) is None


def test_every_import_of_the_package_is_a_declared_dependency() -> None:
    """What the package imports comes from its own dependencies, or its room's extra."""
    providers = packages_distributions()
    undeclared: dict[str, str] = {}
    for file in sorted((ROOT / "refusal_lens").rglob("*.py")):
        room = file.relative_to(ROOT / "refusal_lens").parts[0]
        allowed = declared()["package"] | declared().get(OF_ROOMS.get(room, ""), set())
        for module in imported(file) - sys.stdlib_module_names - {"refusal_lens"}:
            names = {canonical(name) for name in providers.get(module, [module])}
            if not names & allowed:
                undeclared[module] = str(file.relative_to(ROOT))
    assert undeclared == {}


def imported(file: Path) -> set[str]:
    """Top-level names of the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


def run(*module_and_arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *module_and_arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel built from the source distribution, as an index would build it."""
    folder = tmp_path_factory.mktemp("dist")
    run("hatchling", "build", "--directory", str(folder), "--target", "sdist")
    (sdist,) = folder.glob("*.tar.gz")
    flags = ("--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder))
    run("pip", "wheel", *flags, str(sdist))
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


@pytest.mark.slow
def test_the_wheel_holds_package_and_data(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    package = {p.relative_to(ROOT).as_posix() for p in (ROOT / "refusal_lens").rglob("*.py")}
    data = {
        "refusal_lens/_data/" + path.relative_to(ROOT / "data").as_posix()
        for folder in (
            "prompts",
            "adapter",
            "manners",
            "phrases",
            "suffixes",
            "verdicts",
            "glossary",
        )
        for path in (ROOT / "data" / folder).rglob("*")
        if path.is_file()
    }
    assert {"refusal_lens/cli/main.py", "refusal_lens/py.typed"} <= names
    assert package <= names
    assert "refusal_lens/_data/prompts/categories.json" in data
    assert any(name.endswith(".safetensors") for name in data)
    assert data <= names


@pytest.mark.slow
def test_the_wheel_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"refusal_lens"}
    files = [name.rpartition("/")[2] for name in wheel.namelist()]
    assert not [file for file in files if file.startswith(("test_", "conftest")) or ".pyc" in file]


@pytest.mark.slow
def test_the_wheel_installs_the_command_and_the_licences(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    (entry,) = (name for name in names if name.endswith(".dist-info/entry_points.txt"))
    assert "refusal-lens = refusal_lens.cli.main:main" in wheel.read(entry).decode()
    for licence in ("LICENSE", "NOTICE"):
        assert any(name.endswith(f".dist-info/licenses/{licence}") for name in names)

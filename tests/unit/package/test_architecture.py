"""The imports of the package: downwards only, TransformerLens in two places, nothing pickled;
and how long files and functions are.

Every import counts, also one inside a function or under TYPE_CHECKING.
"""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from support.rooms import LAYERS, PAGES, ROOT, shown, unit

PACKAGE = ROOT / "refusal_lens"
LAYER = {unit(room): level for level, layer in enumerate(LAYERS) for room in layer.rooms}
SPEAK_TO_TRANSFORMER_LENS = {"model", "attribution"}
NOT_FOR_PLOTS = {
    "refusal_lens.model",
    "refusal_lens.training",
    "transformer_lens",
    "transformers",
    "peft",
    "torch.nn",
}
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc"}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"torch.save", "torch.load"}
LONGEST = 320
Function = ast.FunctionDef | ast.AsyncFunctionDef
LONGEST_FUNCTION = 40  # without its signature and its docstring


def modules(package: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(package.rglob("*.py")):
        yield path.relative_to(package), ast.parse(path.read_text(encoding="utf-8"))


def unit_of(path: Path) -> str:
    """`model/lens.py` belongs to "model", `prompts.py` to "prompts", the root to ""."""
    name = path.parts[0] if len(path.parts) > 1 else path.stem
    return "" if name == "__init__" else name


def imports(path: Path, tree: ast.Module) -> Iterator[str]:
    """Dotted names of everything that is imported, relative imports resolved."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                folder = ("refusal_lens", *path.parent.parts)
                kept = folder[: len(folder) - node.level + 1]
                base = ".".join((*kept, base)) if base else ".".join(kept)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def begins(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def about_the_file(path: Path, text: str, tree: ast.Module) -> Iterator[str]:
    if VAGUE & {path.stem, *path.parts}:
        yield "the name says nothing"
    if (n_lines := len(text.splitlines())) > LONGEST:
        yield f"{n_lines} lines"
    unsafe = UNSAFE_CALLS - tensors_alone(tree)
    for node in ast.walk(tree):
        if isinstance(node, Function) and (n_lines := lines_of(node)) > LONGEST_FUNCTION:
            yield f"{n_lines} lines of {node.name}()"
        if isinstance(node, ast.Attribute) and dotted(node) in unsafe:
            yield f"{dotted(node)} executes what it loads"


def lines_of(function: Function) -> int:
    """Lines from the first statement to the last: what a command declares as options is none."""
    body = function.body if ast.get_docstring(function) is None else function.body[1:]
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def dotted(node: ast.expr) -> str:
    """`torch.load` of such an expression; nothing of any other."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return ""


def tensors_alone(tree: ast.Module) -> set[str]:
    """Calls that are safe here: every one of them says that it reads tensors and nothing else."""
    loads = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and dotted(node.func) == "torch.load"
    ]
    safe = all("weights_only=True" in [ast.unparse(k) for k in n.keywords] for n in loads)
    return {"torch.load"} if safe else set()


def about_an_import(unit: str, name: str) -> Iterator[str]:
    if name.split(".")[0] in UNSAFE_MODULES or name in UNSAFE_CALLS:
        yield f"{name} executes what it loads"
    if begins(name, "transformer_lens") and unit not in SPEAK_TO_TRANSFORMER_LENS:
        yield "imports transformer_lens"
    if unit == "plots" and any(begins(name, other) for other in NOT_FOR_PLOTS):
        yield f"a plot sees a model: {name}"
    elif (other := own_unit(name)) is not None and LAYER.get(other, 99) > LAYER.get(unit, 98):
        yield f"imports {name}, which is above it"


def own_unit(name: str) -> str | None:
    """The unit of this package that an imported name belongs to; None for other packages."""
    root, _, rest = name.partition(".")
    unit = rest.split(".")[0]
    return unit if root == "refusal_lens" and not unit.startswith("__") else None


def complaints(package: Path) -> list[str]:
    violations: list[str] = []
    graph: dict[str, set[str]] = {}
    for path, tree in modules(package):
        unit = unit_of(path)
        if unit and unit not in LAYER:
            violations.append(f"{path}: {unit!r} stands in no layer")
            continue
        text = (package / path).read_text(encoding="utf-8")
        violations += [f"{path}: {words}" for words in about_the_file(path, text, tree)]
        for name in imports(path, tree):
            violations += [f"{path}: {words}" for words in about_an_import(unit, name)]
            if unit and (other := own_unit(name)) and other != unit:
                graph.setdefault(unit, set()).add(other)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        violations.append(f"imports go in a circle: {' -> '.join(error.args[1])}")
    return violations


def test_the_package_keeps_its_layers():
    paths = [path for path, _ in modules(PACKAGE)]
    assert Path("model/lens.py") in paths and Path("records.py") in paths
    assert complaints(PACKAGE) == []


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_show_the_one_list_of_rooms(page):
    """`PYTHONPATH=tests python -m support.rooms` writes them."""
    assert shown(page) == PAGES[page][1]()


def test_the_list_holds_every_room_and_no_other():
    rooms = {room for layer in LAYERS for room in layer.rooms}
    modules = {path.name for path in PACKAGE.glob("*.py") if path.stem != "__init__"}
    folders = {f"{path.parent.name}/" for path in PACKAGE.glob("*/__init__.py")}
    assert rooms == modules | folders


def test_the_rules_see_the_real_imports():
    """The parser finds imports that are known to be there, nested ones too."""
    trees = dict(modules(PACKAGE))
    lens = set(imports(Path("model/lens.py"), trees[Path("model/lens.py")]))
    assert "refusal_lens.interventions.Edit" in lens
    load = set(imports(Path("model/load.py"), trees[Path("model/load.py")]))
    assert any(begins(name, "transformer_lens") for name in load)


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("geometry/x.py", "from refusal_lens.model import LensModel", "above it"),
        ("geometry/x.py", "def f():\n    import refusal_lens.cli.main", "above it"),
        ("geometry/x.py", "from ..evaluation import run", "above it"),
        ("sites.py", "from refusal_lens import directions", "above it"),
        ("geometry/x.py", "import transformer_lens", "imports transformer_lens"),
        ("study/x.py", "from transformer_lens.hook_points import HookPoint", "imports transform"),
        ("plots/x.py", "from refusal_lens.model.lens import LensModel", "sees a model"),
        ("plots/x.py", "from torch.nn import Module", "sees a model"),
        ("directions/x.py", "from refusal_lens.geometry import a", "in a circle"),
        ("records.py", "import pickle", "executes"),
        ("records.py", "from torch import save", "executes"),
        ("records.py", "import torch\ntorch.load('x')", "executes"),
        ("geometry/utils.py", "", "says nothing"),
        ("common/x.py", "", "in no layer"),
        ("sites.py", "\n" * 321, "321 lines"),
        ("sites.py", "def f(\n    a,\n):\n    'Doc.'" + "\n    a = 1" * 41, "41 lines of f()"),
    ],
)
def test_the_rules_can_fail(tmp_path, file, text, complaint):
    good = {
        "__init__.py": "",
        "geometry/base.py": "from refusal_lens.directions import Direction\nimport torch",
        "model/lens.py": "import transformer_lens\nfrom refusal_lens.sites import Site",
        "plots/bars.py": "import torch\nfrom refusal_lens.geometry import Geometry",
    }
    for name, content in good.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert complaints(tmp_path) == []
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    (violation,) = complaints(tmp_path)
    assert complaint in violation

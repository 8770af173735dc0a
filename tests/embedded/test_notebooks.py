"""The course: short plain cells, exercises whose folded solutions pass, whole outputs, and every
notebook runs from top to bottom."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import refusal_lens as rl
from notebooks.build import FIGURE, IMAGE, executed

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_LINES = 8
MOST_CELLS = 25
MOST_BYTES = 1_000_000
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
# A folder of somebody's machine; "https://site/home/" is an address and passes.
ABSOLUTE = re.compile(
    r"(?<![\w./:~-])/(?:home|root|work|tmp|Users|usr|opt|var|mnt|etc)/\w|\b[A-Z]:\\\\?\w"
)


def read(path: Path) -> NotebookNode:
    """A notebook as its file has it, checked against the format's schema."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def faults_of_source(source: str) -> list[str]:
    """What is wrong with the code of one cell."""
    lines = [x for x in source.splitlines() if x.strip() and not x.lstrip().startswith("#")]
    problems = [f"{len(lines)} lines of code"] if not 0 < len(lines) <= MOST_LINES else []
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic, a shell command, or a mistake
        return [*problems, "not plain Python"]
    defined = [node for node in ast.walk(tree) if isinstance(node, DEFINITIONS)]
    if defined and not is_exercise(tree):
        problems.append("defines a function or a class, and is no exercise")
    modules = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    modules += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    if deeper := [m for m in modules if m and m.startswith("refusal_lens.")]:
        problems.append(f"imports {deeper[0]}; `import refusal_lens as rl` reaches it")
    return problems


def is_exercise(tree: ast.Module) -> bool:
    """Whether a cell is a stub, whose body is a docstring and `...`, and the check of its name."""
    if len(tree.body) != 2 or not isinstance(stub := tree.body[0], ast.FunctionDef):
        return False
    words, body = stub.body[:-1], ast.unparse(stub.body[-1])
    checked = ast.unparse(tree.body[1]) == f"rl.exercises.{stub.name}({stub.name})"
    return ast.get_docstring(stub) is not None and len(words) == 1 and body == "..." and checked


def faults_of_outputs(cell: NotebookNode) -> list[str]:
    """What is wrong with what one cell left behind."""
    problems = [f"{o.ename}: {o.evalue}" for o in cell.outputs if o.output_type == "error"]
    problems += ["text on stderr" for o in cell.outputs if o.get("name") == "stderr"]
    problems += ["figure without a static image" for o in cell.outputs if without_image(o)]
    shown = [{**o, "data": {**o.get("data", {}), IMAGE: ""}} for o in cell.outputs]
    if path := ABSOLUTE.search("\n".join(map(str, shown))):
        problems.append(f"absolute path near {path.group()!r}")
    return problems


def without_image(output: NotebookNode) -> bool:
    return FIGURE in (data := output.get("data", {})) and not data.get(IMAGE)


def faults(notebook: NotebookNode) -> list[str]:
    """Everything that keeps a notebook from being committed, a line each."""
    cells = code_cells(notebook)
    problems: list[str] = []
    for number, cell in enumerate(cells, 1):
        cell_problems = faults_of_source(cell.source) + faults_of_outputs(cell)
        if cell.execution_count != number:
            cell_problems.append(f"execution count {cell.execution_count}")
        problems += [f"code cell {number}: {fault}" for fault in cell_problems]
    if len(cells) > MOST_CELLS:
        problems.append(f"{len(cells)} code cells")
    if notebook.cells[0].cell_type != "markdown":
        problems.append("does not open with text")
    if 2 * sum(bool(cell.outputs) for cell in cells) < len(cells):
        problems.append("committed without its outputs")
    if not any(FIGURE in o.get("data", {}) for cell in cells for o in cell.outputs):
        problems.append("committed without a figure")
    return problems


def test_there_is_a_notebook_for_each_chapter():
    assert [int(path.stem[:2]) for path in NOTEBOOKS] == list(range(1, 10))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_whole(path: Path):
    assert faults(read(path)) == []
    assert path.stat().st_size < MOST_BYTES


def good_notebook() -> NotebookNode:
    figure = new_output("display_data", data={FIGURE: {"data": []}, IMAGE: "iVBORw0KGgo="})
    cell = new_code_cell("x = 1\nprint(x)", execution_count=1, outputs=[figure])
    return new_notebook(cells=[new_markdown_cell("# Title"), cell])


def test_a_good_notebook_passes():
    assert faults(good_notebook()) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"source": "\n".join(f"x{i} = {i}" for i in range(9))}, "code cell 1: 9 lines of code"),
        ({"source": "# only a remark"}, "code cell 1: 0 lines of code"),
        ({"source": "%matplotlib inline"}, "code cell 1: not plain Python"),
        (
            {"source": "f = lambda x: x"},
            "code cell 1: defines a function or a class, and is no exercise",
        ),
        (
            {"source": "def f(x):\n    return x\n\n\nrl.exercises.f(f)"},
            "code cell 1: defines a function or a class, and is no exercise",
        ),
        (
            {"outputs": [new_output("display_data", data={FIGURE: {"data": []}})]},
            "code cell 1: figure without a static image",
        ),
        (
            {"source": "from refusal_lens.plots import plot_cosines"},
            "code cell 1: imports refusal_lens.plots; `import refusal_lens as rl` reaches it",
        ),
        ({"execution_count": 3}, "code cell 1: execution count 3"),
        ({"outputs": []}, "committed without its outputs"),
        ({"outputs": [new_output("stream", text="1")]}, "committed without a figure"),
        (
            {"outputs": [new_output("stream", name="stderr", text="Loading")]},
            "code cell 1: text on stderr",
        ),
        (
            {"outputs": [new_output("error", ename="KeyError", evalue="1", traceback=[])]},
            "code cell 1: KeyError: 1",
        ),
        (
            {"outputs": [new_output("stream", text="saved in /tmp/run/a.json")]},
            "code cell 1: absolute path near '/tmp/r'",
        ),
    ],
    ids=lambda value: None if isinstance(value, dict) else value,
)
def test_a_bad_notebook_is_noticed(change: dict[str, object], fault: str):
    notebook = good_notebook()
    notebook.cells[1].update(change)
    assert fault in faults(notebook)


def exercises(notebook: NotebookNode) -> dict[str, tuple[str, str, str]]:
    """Name of each exercise -> question, cell, and the folded text after it."""
    cells = notebook.cells
    return {
        match.group(1): (cells[i - 1].source, cell.source, cells[i + 1].source)
        for i, cell in enumerate(cells)
        if cell.cell_type == "code"
        and (match := re.search(r"^rl\.exercises\.(\w+)\(", cell.source, re.M))
    }


def solution_in(folded: str) -> str:
    """The code of the folded solution."""
    match = re.search(r"<summary>Solution</summary>\n\n```python\n(.*?)\n```", folded, re.S)
    assert match is not None, folded
    return match.group(1)


def statements(code: str) -> set[str]:
    """The lines of a function's body that say how it is done."""
    lines = [" ".join(line.split()) for line in code.splitlines()]
    return {line for line in lines if len(line) > 20 and not line.startswith(("def ", '"""'))}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_exercises_are_those_of_the_chapter(path: Path):
    chapter = rl.exercises.all_chapters()[NOTEBOOKS.index(path)]
    assert path.stem.startswith(f"{chapter.number:02d}_")
    names = list(exercises(read(path)))
    assert 3 <= len(names) <= 6
    assert sorted(names) == sorted(e.name for e in chapter.exercises)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_folded_solutions_pass_their_checks_and_stubs_do_not_fail(path: Path):
    for name, (question, cell, folded) in exercises(read(path)).items():
        assert question.lstrip().startswith("### Exercise") or "\n### Exercise" in question
        assert folded.count("<details>") == folded.count("</details>") == 2
        assert "<summary>Hint</summary>" in folded
        space: dict[str, object] = {"torch": torch, "rl": rl}
        exec(compile(solution_in(folded), name, "exec"), space)
        assert (feedback := rl.exercises.check(name, space[name])), feedback
        exec(compile(cell.rpartition("rl.exercises")[0], name, "exec"), space)
        assert rl.exercises.check(name, space[name]).state == "not written yet"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_above_a_question_gives_its_answer(path: Path):
    notebook = read(path)
    for name, (question, _, folded) in exercises(notebook).items():
        at = next(i for i, cell in enumerate(notebook.cells) if cell.source == question)
        shown = [c.source for c in notebook.cells[: at + 1] if "<details>" not in c.source]
        before = " ".join(" ".join(shown).split())
        given = [line for line in statements(solution_in(folded)) if line in before]
        assert given == [], name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_each_figure_is_followed_by_what_to_see_in_it(path: Path):
    cells = read(path).cells
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        if any(FIGURE in o.get("data", {}) for o in cell.get("outputs", [])):
            assert after is not None and after.cell_type == "markdown"
            assert not after.source.startswith("#")


def test_notebooks_import_the_package_and_little_else():
    allowed = {"refusal_lens", "torch", "os", "sys", "subprocess", "warnings", "plotly", "textwrap"}
    allowed |= {"math", "functools", "pathlib"}
    for path in NOTEBOOKS:
        for cell in code_cells(read(path)):
            for node in ast.walk(ast.parse(cell.source)):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert {name.partition(".")[0] for name in names} <= allowed, path.stem


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path):
    # In an empty folder: a notebook may not lean on files beside it. Any error is raised.
    notebook = executed(path, tmp_path)
    left = [fault for fault in faults(notebook) if "static image" not in fault]
    assert left == []

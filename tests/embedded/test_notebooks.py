"""The notebooks: short plain cells, whole outputs, and every one runs from top to bottom."""

import ast
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_LINES = 8
MOST_CELLS = 24
MOST_BYTES = 1_500_000
FIGURE = "application/vnd.plotly.v1+json"
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
    found = [f"{len(lines)} lines of code"] if not 0 < len(lines) <= MOST_LINES else []
    try:
        tree = ast.parse(source)
    except SyntaxError:  # a magic, a shell command, or a mistake
        return [*found, "not plain Python"]
    if any(isinstance(node, DEFINITIONS) for node in ast.walk(tree)):
        found.append("defines a function or a class")
    modules = [n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    modules += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    if deeper := [m for m in modules if m and m.startswith("refusal_lens.")]:
        found.append(f"imports {deeper[0]}; `import refusal_lens as rl` reaches it")
    return found


def faults_of_outputs(cell: NotebookNode) -> list[str]:
    """What is wrong with what one cell left behind."""
    found = [f"{o.ename}: {o.evalue}" for o in cell.outputs if o.output_type == "error"]
    found += ["text on stderr" for o in cell.outputs if o.get("name") == "stderr"]
    if path := ABSOLUTE.search("\n".join(map(str, cell.outputs))):
        found.append(f"absolute path near {path.group()!r}")
    return found


def faults(notebook: NotebookNode) -> list[str]:
    """Everything that keeps a notebook from being committed, a line each."""
    cells = code_cells(notebook)
    found: list[str] = []
    for number, cell in enumerate(cells, 1):
        own = faults_of_source(cell.source) + faults_of_outputs(cell)
        if cell.execution_count != number:
            own.append(f"execution count {cell.execution_count}")
        found += [f"code cell {number}: {fault}" for fault in own]
    if len(cells) > MOST_CELLS:
        found.append(f"{len(cells)} code cells")
    if notebook.cells[0].cell_type != "markdown":
        found.append("does not open with text")
    if 2 * sum(bool(cell.outputs) for cell in cells) < len(cells):
        found.append("committed without its outputs")
    if not any(FIGURE in o.get("data", {}) for cell in cells for o in cell.outputs):
        found.append("committed without a figure")
    return found


def test_there_is_a_first_notebook():
    assert "01_first_look.ipynb" in [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_committed_whole(path: Path):
    assert faults(read(path)) == []
    assert path.stat().st_size < MOST_BYTES


def good_notebook() -> NotebookNode:
    figure = new_output("display_data", data={FIGURE: {"data": []}})
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
        ({"source": "f = lambda x: x"}, "code cell 1: defines a function or a class"),
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


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path):
    # In an empty folder: a notebook may not lean on files beside it. Any error is raised.
    notebook = read(path)
    for cell in code_cells(notebook):
        cell.update(outputs=[], execution_count=None)
    client = NotebookClient(
        notebook,
        timeout=600,
        startup_timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    assert faults(notebook) == []

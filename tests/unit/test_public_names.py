"""The names of `rl`: listed, typed, and loaded only when used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import refusal_lens as rl

PACKAGE = Path(rl.__file__).parent
SUB_PACKAGES = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
NOT_IN_RL = {
    "training": "makes the data that the package ships",
    "cli": "the command line",
}


def test_dir_lists_the_names_of_the_stub_and_nothing_else():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    names = [alias.asname for node in imports for alias in node.names]
    assert sorted(names) == dir(rl) == sorted(rl.__all__)
    assert {"load_model", "PromptSet", "fit_geometry", "plot_cosines", "Results"} <= {*names}


def test_what_a_patch_takes_is_a_name_of_the_package():
    assert {"patch", "pairs_of", "stream_sites", "whole_pairs", "data_path"} <= {*dir(rl)}
    assert rl.pairs_of is rl.attribution.pairs_of and rl.data_path is rl.resources.data_path


@pytest.mark.parametrize("name", dir(rl))
def test_every_name_is_there(name: str):
    assert getattr(rl, name) is not None
    assert name in vars(rl)  # kept, so that the second use costs nothing


def test_sub_packages_are_attributes():
    assert NOT_IN_RL.keys() <= SUB_PACKAGES
    assert {*dir(rl)} & SUB_PACKAGES == SUB_PACKAGES - NOT_IN_RL.keys()
    assert rl.geometry.fit_geometry is rl.fit_geometry


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="fit_geometri"):
        _ = rl.fit_geometri  # pyright: ignore


def test_nothing_heavy_is_imported_before_it_is_used():
    code = """
import sys
import refusal_lens as rl
names = dir(rl)
heavy = {"torch", "transformers", "transformer_lens", "sklearn", "plotly"} & {*sys.modules}
assert names and not heavy, heavy
rl.Direction
assert "torch" in sys.modules and "transformer_lens" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)

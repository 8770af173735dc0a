"""The examples of docs/harnesses.md: other evaluation harnesses obey edits."""

import re
from pathlib import Path

import pytest
import torch

import refusal_lens as rl

PAGE = (Path(__file__).resolve().parents[2] / "docs/harnesses.md").read_text(encoding="utf-8")
ASKED = ["How do tides work?", "Why?"]


def example(heading: str) -> str:
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0]


@pytest.fixture
def direction(tiny_llama):
    return rl.Direction.from_difference(
        30 * torch.randn(tiny_llama.d_model, generator=torch.Generator().manual_seed(1)),
        category="any",
        site=rl.Site(1),
        offset=-1,
        provenance=tiny_llama.provenance(),
    )


@pytest.mark.parametrize(
    ("heading", "package"), [("lm-evaluation-harness", "lm_eval"), ("Inspect", "inspect_ai")]
)
def test_a_harness_sees_the_edited_model(tiny_llama, direction, tmp_path, heading, package):
    """Its answers are `LensModel`'s own, with and without the edit; afterwards nothing is left."""
    pytest.importorskip(package)
    names = {"model": tiny_llama, "direction": direction, "LOGS": str(tmp_path)}
    exec(compile(example(heading), heading, "exec"), names)
    decoding = rl.Decoding(8)
    plain = tiny_llama.generate(ASKED, decoding)
    with tiny_llama.editing(rl.Add(direction, strength=1.0)):
        edited = tiny_llama.generate(ASKED, decoding)
    assert plain != edited
    assert names["unedited"] == plain and names["edited"] == edited
    assert names["answers"]() == plain


def test_the_page_shows_both():
    for heading in ("lm-evaluation-harness", "Inspect"):
        compile(example(heading), heading, "exec")
        assert "model.editing(rl.Add(direction" in example(heading)

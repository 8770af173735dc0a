"""The Python blocks of how-to pages and explanations run, page by page, on the tiny model."""

import pytest
from support.pages import NOT_RUN, ROOT, WRITTEN, blocks

NAMES = ("rl", "model", "prompts", "directions", "direction", "results", "sae")


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run_in_their_order(page, request, monkeypatch, tmp_path):
    """In an empty folder, with what examples in docstrings may use; names last through a page."""
    monkeypatch.chdir(tmp_path)
    names = {name: request.getfixturevalue(f"example_{name}") for name in NAMES}
    for block in blocks(page, "python"):
        if NOT_RUN not in block:
            exec(compile(block, page.name, "exec"), names)

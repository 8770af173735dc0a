"""The documentation's pages: links, names, commands and headings that they mention exist."""

import re
import shlex

import pytest
from support.pages import NOT_RUN, PAGES, ROOT, WRITTEN, blocks, links
from typer.main import get_command

import refusal_lens as rl
from refusal_lens.cli.main import app
from refusal_lens.directions import ESTIMATORS
from refusal_lens.judges import JUDGES
from refusal_lens.report.section import every_section
from refusal_lens.study.estimators import compared


def by_name(page):
    return str(page.relative_to(ROOT))


def commands_of(page):
    """The words of each `refusal-lens` line, continued lines put together."""
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["refusal-lens"]:
                yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_within_the_project_lead_somewhere(page):
    assert [link for link in links(page) if not (page.parent / link).resolve().exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_commands_and_their_options_exist(page):
    known = get_command(app).commands
    for name, *words in commands_of(page):
        assert name in known, name
        options = {o for p in known[name].params for o in (*p.opts, *p.secondary_opts)}
        assert {w.partition("=")[0] for w in words if w.startswith("--")} <= options, (name, words)


def test_commands_are_read_from_the_pages():
    """Otherwise the test above would pass on anything."""
    assert sum(len(list(commands_of(page))) for page in PAGES) > 15


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_names_of_the_package_exist(page):
    text = page.read_text(encoding="utf-8")
    for dotted in set(re.findall(r"\brl\.([A-Za-z_][\w.]*\w)", text)):
        value = rl
        for part in dotted.split("."):
            assert hasattr(value, part), f"rl.{dotted}"
            value = getattr(value, part)


@pytest.mark.parametrize("page", WRITTEN, ids=by_name)
def test_python_blocks_are_python(page):
    for block in blocks(page, "python"):
        compile(block, page.name, "exec")


def test_most_blocks_are_run():
    every = [block for page in WRITTEN for block in blocks(page, "python")]
    assert sum(NOT_RUN not in block for block in every) > 0.7 * len(every) > 10


def test_every_estimator_is_explained():
    text = (ROOT / "docs/explanations/estimators.md").read_text(encoding="utf-8")
    names = {*ESTIMATORS, *(one.name for one in compared() if one.kind == "estimator")}
    assert sorted(name for name in names if f"`{name}`" not in text) == []
    listed = re.search(r"for comparison only: ([^.]*)\.", text)
    assert listed is not None
    studied = {name for name, one in ESTIMATORS.items() if one.no_geometry is None}
    assert set(re.findall(r"`(\w+)`", listed[1])) == names - studied


def test_every_judge_is_listed():
    text = (ROOT / "docs/how-to/your-judge.md").read_text(encoding="utf-8")
    assert sorted(name for name in JUDGES if f"| `{name}` |" not in text) == []
    others = re.search(r"All but (.*) are made\s+for English", text)
    assert others is not None
    named = set(re.findall(r"`(\w+)`", others[1]))
    assert named == {name for name, choice in JUDGES.items() if choice.any_language}


def test_sections_of_the_report_have_the_headings_that_are_named():
    text = (ROOT / "docs/how-to/reading-a-report.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| .*\? \| ([^:;|,]+)", text, re.MULTILINE)
    titles = [section.title for _, section in every_section()]
    assert len(rows) > 5
    named = [row.strip() for row in rows if row[0].isupper()]
    assert [row for row in named if not any(title.startswith(row) for title in titles)] == []

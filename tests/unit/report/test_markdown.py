"""Tables in Markdown: no cell ends early or acts as HTML, link or image; numbers stay readable."""

import pytest
from markdown_it import MarkdownIt

from refusal_lens.report.markdown import markdown_rows, markdown_table
from refusal_lens.tables.table import Cell, Table

HOSTILE = (
    "![x](http://e/x.png)",
    "[x](javascript:alert(1))",
    "[x] (http://e)",
    r"[x]\(http://e)",
    r"\](http://e)",
    "[x][y]",
    "a\\|b",
    r"a\\|b",
    "a|b",
    "a\\",
    "<b>bold</b><br>",
    "<http://e>",
    "[x]\n(http://e)",
    "x\u202ey\x1b[31m",
)


def cells(text: str) -> list[list[str]]:
    """The texts of a table's cells as a reader of Markdown has them; markup would be in `kinds`."""
    rows: list[list[str]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "tr_open":
            rows.append([])
        if token.type == "inline" and rows:
            children = token.children or []
            assert {child.type for child in children} <= {"text", "text_special"}, text
            rows[-1].append("".join(child.content for child in children))
    return rows


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_is_its_own_text(text: str) -> None:
    shown = text.replace("\n", " ").replace("\u202e", "\\u202e").replace("\x1b", "\\u001b")
    table = markdown_rows(["head", text], [[text, "end"]])
    assert cells(table) == [["head", shown], [shown, "end"]]


@pytest.mark.parametrize("text", ["45% [36, 55]", "0.62 [0.50, 0.71], n = 99 (all)", "a_b (c) *"])
def test_numbers_and_words_are_written_as_they_are(text: str) -> None:
    assert markdown_rows([text], []).splitlines()[0] == f"| {text} |"


def test_the_caption_is_as_harmless_as_a_cell() -> None:
    table = Table("of [x](http://e) <i>", ("a",), ((Cell("1"),),))
    assert markdown_table(table).endswith("\n\nof [x]\\(http://e) &lt;i>")

"""The table of findings: written from records alone, the same text again, safe in Markdown."""

import pytest
from support.synthetic.run import run, stages

from refusal_lens.errors import InputError
from refusal_lens.report.findings import BEGIN, END, findings, write_findings
from refusal_lens.report.run import Run
from refusal_lens.study import Results


@pytest.fixture(scope="module")
def report_run(tmp_path_factory) -> Run:
    return Run(run(tmp_path_factory.mktemp("run") / "run", stages()))


def test_every_claim_has_a_row_and_a_cell_for_each_run(report_run):
    lines = findings([report_run, report_run]).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert table[0].count("`") == 4
    rows = [line.split(" | ") for line in table[2:17]]
    assert len(rows) == 15 and all(len(row) == 3 for row in rows)
    effect = next(row for row in rows if row[0].startswith("| Ablate"))
    assert "unedited" in effect[1] and "random control" in effect[1] and "n = 60" in effect[1]


def test_what_is_missing_says_why(tmp_path):
    empty = Run(Results.begin(tmp_path / "empty", {"source": "x"}))
    text = findings([empty], short=True)
    assert (
        text.count("has not finished in this run") >= 5 and "`refusal-lens attribute`" not in text
    )


def test_a_page_is_written_between_its_marks_and_nowhere_else(report_run, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold | numbers\n{END}\nafter\n")
    write_findings([report_run], page)
    first = page.read_text()
    assert first.startswith("before\n") and first.endswith("after\n") and "old" not in first
    write_findings([report_run], page)
    assert page.read_text() == first
    page.write_text("no marks")
    with pytest.raises(InputError, match="has no lines"):
        write_findings([report_run], page)
    with pytest.raises(InputError, match="does not exist"):
        write_findings([report_run], tmp_path / "nowhere.md")


def test_ends_of_lines_of_a_page_stay_and_other_encodings_are_named(report_run, tmp_path):
    page = tmp_path / "page.md"
    page.write_bytes(f"caf\u00e9\r\n{BEGIN}\r\nold\r\n{END}\r\nafter\r\n".encode())
    write_findings([report_run], page)
    content = page.read_bytes()
    assert content.startswith("caf\u00e9\r\n".encode()) and content.endswith(b"after\r\n")
    assert content.count(b"\r\n") == content.count(b"\n") > 10
    page.write_bytes(f"caf\u00e9 {BEGIN} {END}".encode("latin-1"))
    with pytest.raises(InputError, match=r"page\.md': byte 3 is not UTF-8; save the page as UTF-8"):
        write_findings([report_run], page)

"""The glossary that the report shows is the one that ships with the project."""

from pathlib import Path

from refusal_lens.report.sections.glossary import glossary_table

ROOT = Path(__file__).resolve().parents[3]


def test_every_term_has_a_meaning_without_marks():
    table = glossary_table()
    text = (ROOT / "data/glossary/README.md").read_text(encoding="utf-8")
    assert len(table.rows) == text.count("\n| ") - 1 >= 15
    assert table.head == ("term", "meaning")
    assert {len(row) for row in table.rows} == {2}
    terms = [row[0].text for row in table.rows]
    assert "reliability" in terms and len(set(terms)) == len(terms)
    assert not any(mark in cell.text for row in table.rows for cell in row for mark in "|`*")
    assert all(len(row[1].text) > 20 for row in table.rows)

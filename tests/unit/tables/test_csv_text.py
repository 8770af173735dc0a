"""CSV whose names no spreadsheet takes for formulas, and whose numbers stay numbers."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from support.synthetic.geometry import CATEGORIES, geometry

from refusal_lens.tables.csv_text import csv_text
from refusal_lens.tables.geometry import GeometryTables


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_text_that_would_be_computed_has_an_apostrophe_before_it(first: str) -> None:
    text = f'{first}HYPERLINK("http://e","x")'
    (row,) = csv.DictReader(io.StringIO(csv_text(["name"], [{"name": text}]), newline=""))
    assert row["name"] == f"'{text}"


def test_numbers_and_other_text_stay() -> None:
    values = {"a": -0.5, "b": -3, "c": None, "d": True, "e": "advice", "f": "a=b", "g": "'q"}
    (row,) = csv.DictReader(io.StringIO(csv_text([*values], [values])))
    expected = ["-0.5", "-3", "", "True", "advice", "a=b", "'q"]
    assert [*row.values()] == expected


def test_the_cosines_of_a_run_have_no_formula_for_a_category(tmp_path: Path) -> None:
    g = geometry(CATEGORIES[:3])
    names = ("=1+1", "@SUM(A1)", CATEGORIES[2])
    tables = GeometryTables(replace(g, categories=names), None, None, None, None)
    with tables.write_csv(tmp_path / "g.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    shown = {row[column] for row in rows for column in ("category", "other_category")}
    assert shown == {"'=1+1", "'@SUM(A1)", CATEGORIES[2]}
    (pair,) = (r for r in rows if r["layer"] == "20" and r["other_category"] == "'@SUM(A1)")
    assert float(pair["corrected"]) == pytest.approx(float(g.corrected[20, 0, 1]))

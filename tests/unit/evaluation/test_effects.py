"""Refusal under ablation and addition: the record on disk, and what its figure and table say."""

import json
from dataclasses import replace
from pathlib import Path

from support.synthetic.evaluation import effects
from support.synthetic.geometry import PAYLOADS

from refusal_lens.evaluation import Effects
from refusal_lens.intervals import wilson
from refusal_lens.plots import plot_effects
from refusal_lens.tables.effects import effects_table


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    rates = effects()
    rates.save(tmp_path / "effects")
    assert Effects.load(tmp_path / "effects") == rates


def test_a_row_is_found_by_edit_direction_and_side() -> None:
    rates = effects()
    assert rates.rate("ablated", "intended", "refuse") == wilson(6, 60, 0.75)
    assert rates.rate("added", "intended", "refuse") != rates.rate("added", "intended", "comply")
    assert rates.rate("ablated", "no such direction", "refuse") is None
    assert rates.directions[0] == "intended" and "none" not in rates.directions


def test_the_figure_holds_each_rate_with_its_interval_on_its_own_side() -> None:
    rates = effects()
    traces = {(t.name, t.xaxis or "x"): t for t in plot_effects(rates).data}
    ablated, added = traces["ablated", "x"], traces["added", "x2"]
    k = rates.directions.index("intended")
    e = rates.rate("ablated", "intended", "refuse")
    assert e and ablated.x[k] == e.value
    assert ablated.error_x.arrayminus[k] == e.value - e.low  # type: ignore[operator]
    assert added.x[k] == rates.rate("added", "intended", "comply").value  # type: ignore[union-attr]
    assert "n = 60" in ablated.customdata[k]
    assert {s.x0 for s in plot_effects(rates).layout.shapes if s.type == "line"} == {0.75, 0.1}


def test_an_undefined_rate_is_no_point_and_says_so() -> None:
    rates = effects()
    rows = tuple(
        replace(r, refused=wilson(0, 0)) if r.direction == "within" else r for r in rates.rows
    )
    figure = plot_effects(replace(rates, rows=rows))
    k = rates.directions.index("within")
    assert figure.data[0].x[k] is None and "undefined" in figure.data[0].customdata[k]
    table = effects_table(replace(rates, rows=rows))
    assert any("undefined" in cell.text for row in table.rows for cell in row)


def test_the_table_names_every_row_and_its_control() -> None:
    table = effects_table(effects())
    by_name = {row[0].text: row for row in table.rows}
    assert by_name["unedited"][1].text == "75% [63, 84], n = 60"
    assert by_name["ablated: harmful − benign, as intended"][1].text == "10% [5, 20], n = 60"
    assert by_name["ablated: random (control)"][2].text.startswith("10%")
    assert "layer 13" in table.caption


def test_no_markup_of_others() -> None:
    rates = effects()
    rows = tuple(
        replace(r, direction=PAYLOADS[0]) if r.direction == "behaviour" else r for r in rates.rows
    )
    raw = json.dumps(json.loads(plot_effects(replace(rates, rows=rows)).to_json() or ""))
    assert "&#60;script" in raw and "<script" not in raw

"""Ladders as figures, tables and the measured part of a page."""

from dataclasses import replace

import pytest
import torch
from support.synthetic.ladder import before_after, ladder, raw_ladder

from refusal_lens.defence import compare_ladders, read_ladder
from refusal_lens.errors import InputError
from refusal_lens.plots.ladder import PANELS, plot_before_after, plot_ladder
from refusal_lens.report.marks import between_marks
from refusal_lens.tables.ladder import (
    before_after_table,
    damage_table,
    ladder_summary_table,
    ladder_table,
    matched_ladders_table,
)
from refusal_lens.training.defence.page import (
    MARKS,
    RECORDS,
    measured,
    shipped_defence,
)


def test_the_figure_draws_every_rung_beside_random_spans():
    figure = plot_ladder(ladder())
    lines = {trace.name for trace in figure.data}
    assert lines == {"deflation", "random spans"} and len(figure.data) == 2 * len(PANELS)
    refused = figure.data[0]
    assert list(refused.y) == [0.75, 0.5, 0.25] and min(refused.error_y.array) > 0
    assert list(figure.data[1].y) == [0.75, 0.75, 0.75]


def test_several_models_share_the_panels_and_names_are_escaped():
    compared = before_after()
    hostile = replace(compared, names=("<b>planted</b>", "defended"))
    figure = plot_before_after(hostile)
    names = {trace.name for trace in figure.data}
    assert "defended" in names and "random spans, defended" in names
    assert not [n for n in names if "<b>" in n]
    both = [trace for trace in figure.data if trace.name == "defended"]
    assert len(both) == len(PANELS) and both[0].y[-1] == pytest.approx(14 / 24)


def test_the_tables_hold_rates_controls_and_tests():
    reading = ladder()
    rows = [[cell.text for cell in row] for row in ladder_table(reading).rows]
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert rows[2][1].startswith("25%") and rows[2][2].startswith("75%")
    assert rows[2][4].startswith("8%")  # without sense
    damage = [[cell.text for cell in row] for row in damage_table(reading).rows]
    assert damage[-1][1] == "not reached" and "%" in damage[0][1]
    compared = before_after()
    table = before_after_table(compared)
    last = [cell.text for cell in table.rows[-1]]
    assert last[:2] == ["defended", "2"] and last[-1].endswith("*")
    assert table.rows[0][-1].text == "–"
    assert len(matched_ladders_table(compared).rows) == 6
    assert len(ladder_summary_table([reading]).rows) == 3


def test_columns_at_matched_over_refusal_say_of_how_many_scored_pairs_they_are():
    one = raw_ladder()
    score = one.score.clone()
    score[..., 9:] = torch.nan
    few = replace(one, score=score)
    caption = ladder_table(read_ladder(few, draws=50)).caption
    assert "n = 24 pairs;" in caption and "(n = 9 pairs with trusted scores)" in caption
    both = compare_ladders({"one": one, "few": few}, draws=50)
    assert "(n = 9 to 24 pairs with trusted scores)" in matched_ladders_table(both).caption
    blind = replace(one, score=torch.full_like(score, torch.nan))
    assert "trusted scores" not in ladder_table(read_ladder(blind, draws=50)).caption


def test_records_that_come_with_the_project_are_read():
    for name in RECORDS:
        assert matched_ladders_table(shipped_defence(name)).rows


def test_what_no_rung_takes_away_is_said():
    kept = read_ladder(raw_ladder((0.75, 0.7, 0.7)), draws=50)
    assert "No rung takes away half" in ladder_table(kept).caption
    assert "Half of the refusals are gone from 2 on" in ladder_table(ladder()).caption


def test_the_page_takes_the_tables_between_its_marks():
    tables = measured({"Both:": before_after()})
    page = between_marks("# Title\n\n{}\nBEFORE\n{}\nafter".format(*MARKS), MARKS, tables)
    assert page.startswith("# Title") and page.endswith("after") and "BEFORE" not in page
    assert "| defended | 2 |" in page and "Both:" in page
    with pytest.raises(InputError, match="has no lines"):
        between_marks("# Title", MARKS, tables)

"""The figure and tables of ways of finding directions: every row there, nothing invented."""

from dataclasses import replace

from support.paired_residuals import PROVENANCE
from support.synthetic.estimators import NAMES, comparison, row, transfer
from support.words import numbers, says

from refusal_lens.geometry.split_halves import LEAST_UNITS, Agreement
from refusal_lens.intervals import mean_estimate
from refusal_lens.plots.estimators import PANELS, estimator_name, plot_estimators, plot_transfer
from refusal_lens.plots.text import percent_interval
from refusal_lens.records import Estimate
from refusal_lens.tables.estimators import (
    DIRECTIONS_OF,
    EDITS_OF,
    JUMPS,
    TOGETHER,
    directions_table,
    edits_table,
    estimator_summary_table,
    fitted_table,
)
from refusal_lens.tables.estimators_by_category import estimator_categories_table

EDITS = (
    *("estimator", "ablated", "left out", "kl", "text", "added"),
    *("strength", "units", "harmful there", "benign there", "matched"),
)  # the columns of the table of edits, in its order


def test_a_row_for_each_way_and_a_panel_for_each_question():
    figure = plot_estimators(comparison())
    assert len(figure.data) == sum(len(panel.dots) for panel in PANELS)
    assert figure.layout.yaxis.ticktext == tuple(map(estimator_name, NAMES))
    removed = next(t for t in figure.data if t.x[0] == 0.1)
    assert list(removed.x) == [0.1, 0.5, 0.9]
    reliability = figure.data[0]
    assert list(reliability.x) == [0.9, 0.9, None]
    assert "not measured" in reliability.customdata[2]


def test_transfer_shows_the_left_out_row_and_gaps():
    heat = plot_transfer(transfer()).data[0]
    assert [round(v, 4) for v in heat.z[1]] == [0.85, 0.75]
    assert heat.text[0][0] == ".90" and heat.text[1][0] == ".85"
    assert heat.z[2][1] is None and heat.text[2][1] == ""


def test_tables_say_what_is_missing_and_which_rates_differ():
    first, second = directions_table(comparison()), edits_table(comparison())
    assert [r[0].text for r in first.rows] == list(map(estimator_name, NAMES))
    assert first.rows[2][2].text == "–"
    assert "q 0.0" in second.rows[1][1].text and second.rows[1][1].text.endswith("*")
    assert "q" not in second.rows[0][1].text
    texts = [dict(zip(EDITS, (c.text for c in r), strict=True)) for r in second.rows]
    assert str(comparison().rows[2].no_strength) in texts[2]["strength"]
    assert texts[0]["units"] == "4.00" and texts[2]["units"] == "–"  # strength .8 of length 5
    assert texts[0]["added"].startswith("45% [")
    assert texts[0]["text"].startswith("0.20 [")
    assert first.caption.count(DIRECTIONS_OF) == second.caption.count(EDITS_OF) == 1
    assert says(second.caption, "50%", "20%", 1, "95")


def test_categories_have_cells_where_there_is_a_direction():
    table = estimator_categories_table(
        {"mean_difference": (None, transfer())}, {"red": "Red things"}
    )
    assert table.head == ("estimator", "Red things", "blue")
    assert [c.text for c in table.rows[0]] == ["mean difference", "–; –; 0.95", "–; –; 0.70"]


def test_categories_have_the_cosine_to_their_mean_difference_but_for_the_reference():
    e = [Estimate(v, v - 0.1, v + 0.1, 12, "halves", 0.0) for v in (0.9, 0.8, 0.7)]
    names = ("pooled", "red", "blue")
    agreement = Agreement(
        "median", "mean", names, tuple(e), tuple(e[::-1]), (None,) * 3, PROVENANCE
    )
    fits = {
        "median": (agreement, transfer()),
        "mean": (replace(agreement, estimator="mean"), transfer()),
    }
    cells = [[c.text for c in r][1:] for r in estimator_categories_table(fits, {}).rows]
    assert cells[0] == [
        "0.80 [0.70, 0.90]; 0.80 [0.70, 0.90]; 0.95",
        "0.70 [0.60, 0.80]; 0.90 [0.80, 1.00]; 0.70",
    ]
    assert cells[1][1] == "0.70 [0.60, 0.80]; –; 0.70"


def test_what_was_fitted_is_shown_with_the_model_of_the_matched_column():
    shown = comparison()
    assert [[c.text for c in r] for r in fitted_table(shown).rows][1] == [
        estimator_name(NAMES[1]),
        "method of linear_discriminant",
    ]
    caption = edits_table(shown).caption
    assert says(caption, "planted, scale 0.5", 30, 32, 4, "−0.20", "0.10", 0, 2)
    assert says(edits_table(shown).head[-1], "70%")
    assert "1 of 2 reach it" in caption and "2 of 2 at 60%" in caption
    lone = replace(shown.matched, differences=0, low=None, high=None)
    assert "no two estimators reach one rate" in edits_table(replace(shown, matched=lone)).caption
    without = edits_table(replace(shown, matched=None))
    assert not numbers(without.head[-1]) and "planted, scale 0.5" not in without.caption


def test_a_control_some_of_whose_draws_reach_the_budget_says_how_many():
    some = row(NAMES[2], strength=0.5, draws_at_budget=6, damage_refusal=shown_rate())
    table = edits_table(replace(comparison(), rows=(*comparison().rows[:2], some)))
    at = EDITS.index("harmful there")
    assert says(table.rows[2][at].text, "]", 6, 8)
    assert len(numbers(table.rows[0][at].text)) == 3  # a rate with its interval alone


def test_too_few_prompts_in_common_are_no_test():
    plain, other, _ = comparison().rows
    (test,) = other.tests
    few = replace(other, tests=(replace(test, n=4, q=None),))
    table = edits_table(replace(comparison(), rows=(plain, few)))
    rate, tested = percent_interval(other.removed), edits_table(comparison()).rows[1][1].text
    assert numbers(table.rows[1][1].text.removeprefix(rate)) == ["4"]
    assert "q" in tested.removeprefix(rate) and "q" not in table.rows[1][1].text


def test_a_caption_speaks_of_halves_only_where_some_were_fitted():
    shown = comparison()
    assert says(directions_table(shown).caption, "jackknife over groups of the 40 pairs")
    without = [replace(r, reliability=None, cosine=None) for r in shown.rows]
    caption = directions_table(replace(shown, rows=tuple(without))).caption
    assert "jackknife" not in caption and says(caption, "not measured", LEAST_UNITS, "pairs")


def test_a_value_without_an_interval_is_shown_as_that_and_the_caption_says_why():
    bare = Estimate(0.7, None, None, 40, "halves", 0.0)
    shown = comparison()
    jumps = replace(row("som"), reliability=bare, cosine=bare)
    with_som = replace(shown, rows=(*shown.rows, jumps))
    table = directions_table(with_som)
    assert [c.text for c in table.rows[3]][2:4] == ["0.70", "0.70"]
    assert f"without an interval for som: {JUMPS}" in table.caption
    assert JUMPS not in directions_table(shown).caption
    dots = plot_estimators(with_som).data[0]
    assert dots.x[3] == 0.7 and dots.error_x.array[3] is None and dots.error_x.array[0] > 0
    names = ("pooled", "red", "blue")
    agreement = Agreement("som", "mean", names, (bare,) * 3, (bare,) * 3, (None,) * 3, PROVENANCE)
    by_category = estimator_categories_table({"som": (agreement, transfer())}, {})
    assert by_category.rows[0][1].text == "0.70; 0.70; 0.95"
    assert f"(but for som: {JUMPS})" in by_category.caption


def test_captions_say_what_is_learned_with_another_ablation_term():
    words = "rdo is RDO with the refusal score as its ablation term"
    learned = comparison((NAMES[0], "rdo", NAMES[2]))
    for table in (directions_table, edits_table):
        assert words in table(learned).caption and words not in table(comparison()).caption


def test_the_cost_of_the_first_invariant_probe_is_of_all_four():
    assert TOGETHER not in directions_table(comparison()).caption
    together = directions_table(comparison((NAMES[0], "erm", NAMES[2])))
    assert TOGETHER in together.caption


def shown_rate():
    return Estimate(0.5, 0.4, 0.6, 20, "Wilson", 0.5)


def test_hostile_names_are_text():
    names = (NAMES[0], "<img src=x onerror=alert(1)>", NAMES[2])
    page = plot_estimators(comparison(names)).to_json()
    assert "<img" not in page
    hostile = plot_transfer(transfer(("<script>", "blue"))).to_json()
    assert "<script>" not in hostile


def test_costs_are_counted_where_fewer_prompts_were_read():
    first, *others = comparison().rows
    costly = replace(first, kl=mean_estimate([0.1] * 7, 0.0), text_change=mean_estimate([0.1] * 6))
    shown = replace(comparison(), rows=(costly, *others))
    assert says(edits_table(shown).caption, 20, 20, 7, 6)
    assert says(estimator_summary_table(shown).caption, 20, 20, 7)

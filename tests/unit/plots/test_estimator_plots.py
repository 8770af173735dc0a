"""The figure and tables of ways of finding directions: every row there, nothing invented."""

from dataclasses import replace

from support.paired_residuals import PROVENANCE
from support.synthetic.estimators import NAMES, comparison, row, transfer

from refusal_lens.geometry.split_halves import Agreement
from refusal_lens.plots.estimators import PANELS, plot_estimators, plot_transfer
from refusal_lens.records import Estimate
from refusal_lens.tables.estimators import directions_table, edits_table, fitted_table
from refusal_lens.tables.estimators_by_category import categories_table


def test_a_row_for_each_way_and_a_panel_for_each_question():
    figure = plot_estimators(comparison())
    assert len(figure.data) == sum(len(panel.dots) for panel in PANELS)
    assert figure.layout.yaxis.ticktext == (
        "mean difference",
        "linear discriminant",
        "random (control)",
    )
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
    assert [r[0].text for r in first.rows] == [
        "mean difference",
        "linear discriminant",
        "random (control)",
    ]
    assert first.rows[2][2].text == "–"
    assert "q 0.0" in second.rows[1][1].text and second.rows[1][1].text.endswith("*")
    assert "q" not in second.rows[0][1].text
    texts = [dict(zip(second.head, (c.text for c in r), strict=True)) for r in second.rows]
    assert texts[2]["strength at the budget"] == "none: never reached"
    assert texts[0]["the same in residual units"] == "4.00"  # strength .8 of length 5
    assert texts[2]["the same in residual units"] == "–"
    assert texts[0]["added at its own length: benign refused"].startswith("45% [")
    assert texts[0]["more on ordinary text, nats"].startswith("0.20 [")
    for table in (first, second):
        assert "of the first draw" in table.caption or "of its first draw" in table.caption
        assert "of its first direction" in table.caption
    assert "50%" in second.caption and "1 nats" in second.caption


def test_categories_have_cells_where_there_is_a_direction():
    table = categories_table({"mean_difference": (None, transfer())}, {"red": "Red things"})
    assert table.head == ("estimator", "Red things", "blue")
    assert [c.text for c in table.rows[0]] == ["mean difference", "–; –; 0.95", "–; –; 0.70"]


def test_categories_have_the_cosine_to_their_mean_difference_but_for_the_reference():
    e = [Estimate(v, v - 0.1, v + 0.1, 12, "halves", 0.0) for v in (0.9, 0.8, 0.7)]
    names = ("pooled", "red", "blue")
    own = Agreement("median", "mean", names, tuple(e), tuple(e[::-1]), (None,) * 3, PROVENANCE)
    fits = {"median": (own, transfer()), "mean": (replace(own, estimator="mean"), transfer())}
    cells = [[c.text for c in r][1:] for r in categories_table(fits, {}).rows]
    assert cells[0] == [
        "0.80 [0.70, 0.90]; 0.80 [0.70, 0.90]; 0.95",
        "0.70 [0.60, 0.80]; 0.90 [0.80, 1.00]; 0.70",
    ]
    assert cells[1][1] == "0.70 [0.60, 0.80]; –; 0.70"


def test_what_was_fitted_is_shown_with_the_model_of_the_matched_column():
    shown = comparison()
    assert [[c.text for c in r] for r in fitted_table(shown).rows][1] == [
        "linear discriminant",
        "method of linear_discriminant",
    ]
    caption = edits_table(shown).caption
    assert (
        "planted, scale 0.5, strengths around the budget's, 30 of 32 pairs, of which 4" in caption
    )
    assert "from −0.20 to 0.10 and leaves out 0 for 0 of 1" in caption
    assert edits_table(shown).head[-1] == "benign refused at matched refusal (70%)"
    assert "At matched refusal" not in edits_table(replace(shown, matched=None)).caption


def test_a_control_some_of_whose_draws_reach_the_budget_says_how_many():
    some = row(NAMES[2], strength=0.5, draws_at_budget=6, damage_refusal=shown_rate())
    table = edits_table(replace(comparison(), rows=(*comparison().rows[:2], some)))
    texts = dict(zip(table.head, (c.text for c in table.rows[2]), strict=True))
    assert texts["harmful refused there"].endswith(", 6 of 8 draws")
    assert not table.rows[0][table.head.index("harmful refused there")].text.endswith("draws")


def test_too_few_prompts_in_common_are_no_test():
    plain, other, _ = comparison().rows
    (test,) = other.tests
    few = replace(other, tests=(replace(test, n=4, q=None),))
    table = edits_table(replace(comparison(), rows=(plain, few)))
    assert table.rows[1][1].text.endswith(", n in common: 4, no test")


def test_the_cost_of_the_first_invariant_probe_is_of_all_four():
    assert "all four" not in directions_table(comparison()).caption
    together = directions_table(comparison((NAMES[0], "erm", NAMES[2])))
    assert "those of erm are of all four invariant probes together" in together.caption


def shown_rate():
    return Estimate(0.5, 0.4, 0.6, 20, "Wilson", 0.5)


def test_hostile_names_are_text():
    names = (NAMES[0], "<img src=x onerror=alert(1)>", NAMES[2])
    page = plot_estimators(comparison(names)).to_json()
    assert "<img" not in page
    hostile = plot_transfer(transfer(("<script>", "blue"))).to_json()
    assert "<script>" not in hostile

"""The section on sparse features: counts, cards and effects, and deaf to hostile text."""

from dataclasses import replace

import pytest
from support.synthetic import features as synthetic
from support.synthetic.geometry import PAYLOADS
from support.synthetic.run import Page, run, stages

from refusal_lens.plots.features import plot_features
from refusal_lens.report.page import write_report
from refusal_lens.tables.features import (
    cards_table,
    checks_table,
    contexts_table,
    effects_table,
    listed_table,
)


def records(**changes):
    whole = {
        "firing": synthetic.firing(),
        "summary": synthetic.summary(),
        "cards": synthetic.cards(),
    }
    return {
        "features": whole | changes,
        "feature_effects": {"effects": synthetic.effects()},
    }


@pytest.fixture(scope="module")
def few():
    return {name: stages()[name] for name in ("behaviour", "directions", "selection")}


def words_of(table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_counts_stand_beside_permuted_verdicts_and_the_published_rule():
    summary, tests = synthetic.summary(), synthetic.firing()
    rows = words_of(listed_table(summary, tests))
    assert rows[0][1:] == [
        str(summary.listed.any_list),
        str(summary.listed.tail),
        str(summary.listed.core),
    ]
    assert "permuted, 5 draws" in rows[1][0] and rows[1][3].startswith("0.00 (0)")
    assert "not positive everywhere" in rows[2][3]
    caption = listed_table(summary, tests).caption
    assert "71% of the variance" in caption and "2 of 24 latents never fire" in caption


def test_chosen_latents_have_a_control_each():
    rows = words_of(checks_table(synthetic.summary()))
    assert [row[3] for row in rows] == ["0.02", "0.10", "0.05"]
    nothing = replace(synthetic.summary(), measured=None, cosine=None, removed=None)
    assert {row[1] for row in words_of(checks_table(nothing))} == {"not measured"}


def test_effects_are_shown_on_the_side_that_was_tried():
    rows = {row[0]: row[1:] for row in words_of(effects_table(synthetic.effects()))}
    assert rows["unedited"][0].startswith("50%") and rows["unedited"][1].startswith("17%")
    assert "q 0.0300 *" in rows["ablated: latents"][0] and rows["ablated: latents"][1] == "–"
    assert "q 0.4000" in rows["added: latents"][1] and "*" not in rows["added: latents"][1]


def test_the_figure_marks_lists_and_leaves_untested_cells_grey():
    tests = synthetic.firing()
    rare = tests.p.clone()
    rare[1, 1] = float("nan")
    figure = plot_features(synthetic.cards(), replace(tests, p=rare), titles={})
    heat = figure.data[0]
    assert heat.text[0] == ("•", "•", "•") and heat.text[1] == ("•", "", "")
    assert heat.z[1][1] is None and heat.z[0][0] == 1.0
    assert "not tested" not in heat.customdata[0][0] and "24 refused" in heat.customdata[0][0]


@pytest.mark.slow  # writes a whole page
def test_the_page_shows_the_section_only_where_it_was_measured(few, tmp_path):
    page = write_report(run(tmp_path / "without", few)).read_text(encoding="utf-8")
    assert 'h3 id="features"' not in page
    results = run(tmp_path / "with", few | records())
    page = write_report(results).read_text(encoding="utf-8")
    assert 'h3 id="features"' in page and 'id="plot-features"' in page
    assert "Should I [[ sell]]  my shares" in page or "Should I" in page


def test_a_run_without_a_listed_latent_says_so(few, tmp_path):
    none = replace(synthetic.cards(), cards=())
    summary = replace(synthetic.summary(), chosen=(), controls=())
    results = run(tmp_path / "run", few | records(cards=none, summary=summary))
    results.add_gap("feature_effects", "d", "no latent is listed")
    page = write_report(results).read_text(encoding="utf-8")
    assert "Not shown: no latent is in a list." in page and 'id="plot-features"' not in page


@pytest.mark.slow  # writes a whole page
def test_hostile_text_stays_text(few, tmp_path):
    hostile = synthetic.cards((*PAYLOADS[:3], PAYLOADS[3]))
    summary = replace(synthetic.summary(), sae=PAYLOADS[0])
    results = run(tmp_path / "run", few | records(cards=hostile, summary=summary))
    page = write_report(results).read_text(encoding="utf-8")
    plain = write_report(run(tmp_path / "plain", few | records())).read_text(encoding="utf-8")
    assert len(Page(page).of("script")) == len(Page(plain).of("script"))
    assert {name for name, _ in Page(page).elements} == {name for name, _ in Page(plain).elements}
    for table in (cards_table(hostile), contexts_table(hostile)):
        assert "\u202e" not in "".join(cell.text for row in table.rows for cell in row)

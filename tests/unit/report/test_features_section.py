"""The section on sparse features: counts, cards and effects, and deaf to hostile text."""

from dataclasses import replace

import pytest
from support.synthetic import features as synthetic
from support.synthetic.features import FEW
from support.synthetic.geometry import PAYLOADS
from support.synthetic.records import candidates, direction_set
from support.synthetic.run import Page, run
from support.words import numbers, says

from refusal_lens.plots.features import plot_features
from refusal_lens.plots.text import probability
from refusal_lens.report.page import write_report
from refusal_lens.selection import Selection
from refusal_lens.tables.features import (
    cards_table,
    checks_table,
    contexts_table,
    feature_effects_table,
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
    sets = {"directions": direction_set(FEW), "pooled": direction_set(("pooled",))}
    chosen = Selection(candidates(4), (3,), 3, None)
    return {"directions": sets, "selection": {"selection": chosen}}


@pytest.fixture(scope="module")
def shown(few, tmp_path_factory) -> str:
    results = run(tmp_path_factory.mktemp("shown") / "run", few | records())
    return write_report(results).read_text(encoding="utf-8")


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
    assert says(rows[1][0], 5) and rows[1][3].startswith("0.00 (0)")
    published = summary.published
    assert numbers(rows[2][3]) == [str(published.core), str(published.core_not_positive)]
    caption = listed_table(summary, tests).caption
    assert says(caption, "71%", "3.8", 2, 24)  # explained, latents per token, dead of all


def test_chosen_latents_have_a_control_each():
    rows = words_of(checks_table(synthetic.summary()))
    assert [row[3] for row in rows] == ["0.02", "0.10", "0.05"]
    nothing = replace(synthetic.summary(), measured=None, cosine=None, removed=None)
    assert not any(numbers(row[1]) for row in words_of(checks_table(nothing)))


def test_effects_are_shown_on_the_side_that_was_tried():
    rows = {row[0]: row[1:] for row in words_of(feature_effects_table(synthetic.effects()))}
    assert rows["unedited"][0].startswith("50%") and rows["unedited"][1].startswith("17%")
    assert "q 0.0300 *" in rows["ablated: latents"][0] and rows["ablated: latents"][1] == "–"
    assert "q 0.4000" in rows["added: latents"][1] and "*" not in rows["added: latents"][1]


def test_the_figure_marks_lists_and_leaves_untested_cells_grey():
    tests = synthetic.firing()
    rare = tests.p.clone()
    rare[1, 1] = float("nan")
    tests = replace(tests, p=rare)
    figure = plot_features(synthetic.cards(), tests, titles={})
    heat = figure.data[0]
    assert [list(row) for row in heat.text] == [["•", "•", "•"], ["•", "", ""]]
    assert heat.z[1][1] is None and heat.z[0][0] == 1.0
    assert says(heat.customdata[0][0], 24, 24, probability(float(tests.q[0, 0])))
    assert says(heat.customdata[1][1], 24, 24) and "q " not in heat.customdata[1][1]


@pytest.mark.slow  # writes a whole page
def test_the_page_shows_the_section_only_where_it_was_measured(few, shown, tmp_path):
    page = write_report(run(tmp_path / "without", few)).read_text(encoding="utf-8")
    assert 'h3 id="features"' not in page
    assert 'h3 id="features"' in shown and 'id="plot-features"' in shown
    before, token, after = "Should I", " sell", " my shares"
    assert f"{before} [[{token}]] {after}" in shown


def test_a_run_without_a_listed_latent_says_so(few, tmp_path):
    none = replace(synthetic.cards(), cards=())
    summary = replace(synthetic.summary(), chosen=(), controls=())
    results = run(tmp_path / "run", few | records(cards=none, summary=summary))
    results.add_gap("feature_effects", "d", "no latent is listed")
    page = write_report(results).read_text(encoding="utf-8")
    assert Page(page).gap("note-features") == "lacking:features"
    assert 'id="plot-features"' not in page


@pytest.mark.slow  # writes a whole page
def test_hostile_text_stays_text(few, shown, tmp_path):
    hostile = synthetic.cards((*PAYLOADS[:3], PAYLOADS[3]))
    summary = replace(synthetic.summary(), sae=PAYLOADS[0])
    results = run(tmp_path / "run", few | records(cards=hostile, summary=summary))
    page = write_report(results).read_text(encoding="utf-8")
    assert len(Page(page).of("script")) == len(Page(shown).of("script"))
    assert {name for name, _ in Page(page).elements} == {name for name, _ in Page(shown).elements}
    for table in (cards_table(hostile), contexts_table(hostile)):
        assert "\u202e" not in "".join(cell.text for row in table.rows for cell in row)

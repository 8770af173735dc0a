"""Figures, tables and the section of suffixes: every row there, the words right, text deaf."""

from dataclasses import replace

import pytest
from support.synthetic.geometry import PAYLOADS
from support.synthetic.run import Page, run
from support.synthetic.suffixes import FAMILIES, PER_FAMILY, analysis
from support.words import numbers, says

from refusal_lens.plots.suffixes import (
    KINDS,
    plot_suffix_areas,
    plot_suffix_layers,
    plot_suffix_rates,
    plot_suffix_shifts,
)
from refusal_lens.plots.text import value_interval
from refusal_lens.report.page import write_report
from refusal_lens.report.run import Run
from refusal_lens.report.sections.suffixes import SECTION
from refusal_lens.study.results import Results
from refusal_lens.suffixes.records import SuffixAnalysis
from refusal_lens.tables.suffixes import families_table, predictions_table, suffixes_table


@pytest.fixture(scope="module")
def measured() -> SuffixAnalysis:
    return analysis()


def test_rates_have_a_row_for_each_text_and_fill_what_is_shown_to_differ(measured):
    figure = plot_suffix_rates(measured)
    rows = measured.rows
    assert len(figure.layout.yaxis.ticktext) == len(rows) == len(FAMILIES) * PER_FAMILY + 2
    harmful, benign, change, against, push = figure.data
    assert list(harmful.x) == [row.harmful.value for row in rows]
    assert list(benign.x) == [0.0] * len(rows)
    assert list(change.marker.symbol[:4]) == ["circle"] * 4
    assert list(change.marker.symbol[4:]) == ["circle-open"] * 6
    assert list(against.x)[-2:] == [None, None] and "not measured" in against.customdata[-1]
    assert list(push.x) == [row.push.value for row in rows]


def test_layers_show_each_family_beside_the_neutral_texts(measured):
    figure = plot_suffix_layers(measured)
    lines = [t for t in figure.data if t.hoverinfo != "skip"]
    assert [t.name for t in lines] == ["neutral", "pushing", "neutral", "idle"]
    assert lines[1].y[1] == pytest.approx(float(measured.curves[0, 0, 1]), abs=1e-3)


def test_areas_and_points_are_those_that_could_be_measured(measured):
    (area,) = plot_suffix_areas(measured).data
    assert list(area.y) == [e.value for e in measured.group("lost").by_site]
    assert area.name.startswith(KINDS["lost"])
    points = plot_suffix_shifts(measured).data
    assert sum(len(t.x) for t in points) == len(measured.points)
    assert f"n = {measured.group('lost').n_flips}" in points[1].name


def test_gained_refusals_are_ranked_by_push_turned_round(measured):
    lost = measured.group("lost")
    groups = (lost, replace(lost, kind="gained"))
    figure = plot_suffix_areas(replace(measured, groups=groups))
    of_lost, of_gained = figure.data
    assert "−" not in of_lost.name and "(−push;" in of_gained.name
    assert "−push" in of_gained.customdata[0] and "push" not in figure.layout.yaxis.title.text


def test_tables_say_changes_in_points_tests_and_what_predicts(measured):
    table = suffixes_table(measured)
    row, first = table.rows[0], measured.rows[0]
    assert row[0].text == "pushing 0." and row[2].text == "4 (4)"
    assert row[5].text.startswith(f"−{-100 * first.change.value:.1f} [")
    test = first.test("no suffix")
    assert row[6].text.startswith(f"{test.lost}, 0; ") and row[6].text.endswith("*")
    assert not table.rows[4][6].text.endswith("*") and table.rows[-1][8].text == "–"
    assert "18 tests" in table.caption
    assert [r[0].text for r in families_table(measured).rows] == ["pushing", "idle", "neutral"]
    predicted = predictions_table(measured)
    assert {r[0].text for r in predicted.rows} == {KINDS["lost"]}
    main = predicted.rows[0]
    weights = measured.group("lost").predictions[0]
    assert main[1].text == ", ".join(weights.columns) and "push" in weights.columns
    assert f"push {value_interval(weights.coefficients[weights.columns.index('push')])}" in (
        main[5].text
    )
    gained = measured.group("gained")
    assert gained.n_flips == 0 and says(predicted.caption, 0, gained.n_rows, gained.n_prompts)


@pytest.mark.slow  # writes a whole page
def test_the_section_is_there_where_it_was_measured_and_says_what_is_not_predicted(
    measured, tmp_path
):
    page = write_report(run(tmp_path / "run", {"suffixes": {"analysis": measured}}))
    shown = Page(page.read_text(encoding="utf-8"))
    findings = SECTION.parts(Run(Results.open(tmp_path / "run")))["suffix_findings"]
    assert findings in shown.words()
    changed, texts, *_, lower, higher, _ = numbers(str(findings))
    assert (changed, texts, lower, higher) == ("4", "8", "4", "0")
    reason = measured.group("gained").reason
    assert reason and f"{KINDS['gained']} ({reason})" in shown.words("note-suffix_gaps")
    assert SECTION.shown(Run(Results.open(tmp_path / "run")))
    assert not SECTION.shown(Run(run(tmp_path / "plain", {})))


def test_hostile_suffixes_and_families_are_text(tmp_path):
    attacked = analysis(families=PAYLOADS[:2])
    for plot in (plot_suffix_rates, plot_suffix_layers, plot_suffix_areas, plot_suffix_shifts):
        assert "<script>" not in plot(attacked).to_json(), plot.__name__
        assert "<a href" not in plot(attacked).to_json(), plot.__name__
    page = Page(
        write_report(run(tmp_path / "run", {"suffixes": {"analysis": attacked}})).read_text()
    )
    assert not [a for a in page.of("a") if "javascript" in (a.get("href") or "")]

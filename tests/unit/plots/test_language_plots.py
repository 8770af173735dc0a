"""The figures and tables of languages: every cell there, nothing invented."""

from dataclasses import replace

import pytest
from support.paired_residuals import PROVENANCE
from support.synthetic.languages import ablation, cosines, language_areas, language_curves

from refusal_lens.evaluation import Answers
from refusal_lens.judges import make_judge
from refusal_lens.plots.languages import plot_language_layers, plot_language_means, plot_languages
from refusal_lens.tables.languages import means_table, refusals_table


@pytest.fixture(scope="module")
def shown():
    return cosines(), language_areas()


def test_three_matrices_with_rows_of_directions(shown):
    figure = plot_languages(*shown, ablation())
    heat = [trace for trace in figure.data if trace.type == "heatmap"]
    assert [len(h.z) for h in heat] == [3, 4, 6]
    assert heat[0].z[0][1] == pytest.approx(1, abs=0.1)
    assert abs(heat[0].z[0][2]) < 0.4
    assert list(heat[2].z[0]) == [0.125, 0.25, None] and heat[2].text[0][2] == ""
    assert figure.layout.yaxis3.ticktext[-2:] == ("shuffled labels", "random")


def test_each_matrix_has_the_languages_in_its_own_order(shown):
    turned = ablation()
    rates = tuple(row[::-1] for row in turned.rates)
    turned = replace(turned, languages=turned.languages[::-1], rates=rates)
    figure = plot_languages(*shown, turned)
    assert figure.layout.xaxis3.ticktext == ("c", "b", "a") != figure.layout.xaxis2.ticktext
    assert list(figure.data[2].z[0]) == [None, 0.25, 0.125]


def test_curves_stand_at_the_layers_of_their_own_record(shown):
    deeper = replace(shown[0], sites=tuple(replace(s, layer=s.layer + 1) for s in shown[0].sites))
    own_curve, _, cosine = plot_language_layers(language_curves(), deeper).data
    assert list(cosine.x) == [x + 1 for x in own_curve.x]


def test_without_ablation_there_are_two(shown):
    assert len(plot_languages(*shown).data) == 2


def test_means_are_shown_before_and_after(shown):
    before, after = plot_language_means(shown[1]).data
    assert after.x[0] > before.x[0] + 0.1
    assert list(before.x) == [e.value for e in shown[1].before]


def test_a_curve_for_own_and_for_other_languages(shown):
    own_curve, other, cosine = plot_language_layers(language_curves(), shown[0], layer=1).data
    assert own_curve.y[0] > other.y[0]
    assert len(cosine.x) == 1


def answers(texts: dict[str, list[str]]) -> Answers:
    rows = [(code, i, text) for code, several in texts.items() for i, text in enumerate(several)]
    return Answers(
        conditions=("none",),
        edits=("none",),
        decoding="greedy",
        ids=tuple(f"{code}{i}" for code, i, _ in rows),
        texts=("?",) * len(rows),
        categories=tuple(code for code, *_ in rows),
        labels=tuple("refuse" if i % 2 == 0 else "comply" for _, i, _ in rows),
        answers=(tuple(text for *_, text in rows),),
        senseless=None,
        provenance=PROVENANCE,
    )


def test_refusals_by_language_with_the_language_of_the_answers():
    german = ["Es tut mir leid, aber das kann ich nicht tun.", "Hier ist ein Gedicht für dich."]
    english = ["I'm sorry, but I can't assist with that.", "Here is what you asked for."]
    read = answers({"en": english, "de": german, "sw": english}).judge(make_judge("opening"))
    table = refusals_table(read, None)
    assert [row[0].text for row in table.rows] == ["English (en)", "German (de)", "Swahili (sw)"]
    assert [row[1].text.startswith("100%") for row in table.rows] == [True] * 3
    assert [row[2].text.startswith("0%") for row in table.rows] == [True] * 3
    assert [row[3].text for row in table.rows] == ["en 2", "de 2", "en 2"]


def test_the_table_of_means_says_what_taking_them_off_gains(shown):
    table = means_table(shown[1], shown[0])
    assert [row[0].text for row in table.rows] == ["a", "b", "c", "all languages"]
    assert table.rows[3][1].text == "–"
    assert not table.rows[0][6].text.startswith("−")
    undefined = replace(shown[1].gain[0], value=None, low=None, high=None)
    changed = replace(shown[1], gain=(undefined, *shown[1].gain[1:]))
    assert means_table(changed, shown[0]).rows[0][6].text == "undefined"

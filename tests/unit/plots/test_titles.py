"""Figures without titles and names: the project's titles, and the models of the records."""

import inspect
from dataclasses import replace

import pytest
from support.synthetic.geometry import CATEGORIES, geometry
from support.synthetic.records import direction_set, trade_off

from refusal_lens import plots
from refusal_lens.geometry import Geometry
from refusal_lens.plots import plot_cosines, plot_lengths, plot_separation, plot_trade_off
from refusal_lens.plots.palette import CONTROL, mark_of
from refusal_lens.plots.panels import MODELS
from refusal_lens.plots.titles import names_of, titles_of
from refusal_lens.prompts import load_categories


def of_model(g: Geometry, name: str) -> Geometry:
    return replace(g, provenance=replace(g.provenance, model=name))


@pytest.mark.parametrize("name", [name for name in vars(plots) if name.startswith("plot_")])
def test_no_figure_needs_titles_or_names(name: str):
    parameters = inspect.signature(getattr(plots, name)).parameters
    given = [p for p in ("titles", "names") if p in parameters]
    assert all(parameters[p].default is None for p in given)


def test_titles_are_the_project_s_and_a_foreign_key_stands_for_itself():
    project = {key: category.title for key, category in load_categories().items()}
    titles = titles_of(None, ["red", "advice", "pooled"])
    assert titles == project | {"red": "red"}
    given = titles_of({"red": "Red ones"}, ["red", "blue"])
    assert given == project | {"red": "Red ones", "blue": "blue"}


def test_categories_of_one_title_are_told_apart_by_their_keys():
    titles = titles_of({"red": "Warm", "amber": "Warm", "blue": "Cold"}, ["red", "amber", "blue"])
    assert [titles[c] for c in ("red", "amber", "blue")] == ["Warm (red)", "Warm (amber)", "Cold"]
    assert titles_of({"red": "Warm", "amber": "Warm"}, ["red"])["red"] == "Warm"  # only one shown


def test_titles_for_some_curves_leave_the_other_marks_as_they_are():
    whole = {t.name: t.line for t in plot_trade_off(trade_off()).data}
    some = {CATEGORIES[0]: "First", "pooled": "All", "control: random": "By chance"}
    named = {t.name: t.line for t in plot_trade_off(trade_off(), titles=some).data}
    renamed = {titles_of(None, [])[CATEGORIES[0]]: "First", "control: random": "By chance"}
    assert named == {renamed.get(name, name): line for name, line in whole.items()}
    grey = [line.dash for line in named.values() if line.color == CONTROL]
    assert len(grey) == 2 and "solid" not in grey


def test_a_category_has_one_colour_whichever_others_are_shown():
    few, many = titles_of(None, ["advice"]), titles_of(None, ["red", "crime_assistance", "advice"])
    assert mark_of("advice", few) == mark_of("advice", many)


def test_names_come_from_the_records():
    model, control = (of_model(geometry(), n).provenance for n in ("org/chat", "org/base"))
    assert names_of(None, model, control) == ("org/chat", "org/base")
    assert names_of(("a", "b"), model, control) == ("a", "b")
    assert names_of(None, model, model) == MODELS
    assert names_of(None, replace(model, model="/models/mine"), None)[0] == "mine"


def test_a_figure_shows_them():
    g, other = (of_model(geometry(CATEGORIES[:3], seed=i), f"chat {i}") for i in range(2))
    drawn = plot_cosines(g, control=other).to_json()
    assert "chat 0" in drawn and "chat 1" in drawn
    assert load_categories()[CATEGORIES[2]].title in drawn
    assert "chat 1" in plot_lengths(g, control=other).to_json()
    assert plot_separation(direction_set(CATEGORIES[:2])).to_json() == (
        plot_separation(
            direction_set(CATEGORIES[:2]),
            titles=titles_of(None, CATEGORIES[:2]),
            names=names_of(None, direction_set().provenance, None),
        ).to_json()
    )


def test_a_model_s_name_is_escaped():
    figure = plot_cosines(of_model(geometry(CATEGORIES[:3]), "<b>bold</b>"))
    headings = " ".join(annotation.text for annotation in figure.layout.annotations)
    assert "bold" in headings and "<b>bold" not in headings

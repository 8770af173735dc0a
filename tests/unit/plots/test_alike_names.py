"""Rows, frames and panels whose names read alike stay apart."""

from dataclasses import replace

from support.synthetic.evaluation import manners
from support.synthetic.geometry import CATEGORIES, geometry, structure

from refusal_lens.plots import plot_across_layers, plot_lengths
from refusal_lens.plots.manners import plot_manners

ALIKE = {c: f"prompts about money, list {i}" for i, c in enumerate(CATEGORIES)}


def test_directions_with_titles_that_are_cut_alike_have_a_row_each():
    matrix = manners()["comply"]
    figure = plot_manners([{"comply": matrix}], titles=ALIKE)
    heat, squares = figure.data
    rows = len(matrix.directions)
    axis = figure.layout.yaxis
    assert len(heat.z) == rows == len(axis.tickvals) == len(axis.ticktext)
    assert len(set(axis.ticktext)) == 2  # one name in each of the two clusters
    assert heat.y is None and list(axis.tickvals) == list(range(rows))
    assert axis.range[0] > rows - 1 > 0 > axis.range[1]  # the first row on top
    whole = {cells[0].partition("</b>")[0] for cells in heat.customdata}
    assert whole == {f"<b>{ALIKE[d]}" for d in matrix.directions}
    assert set(zip(squares.x, squares.y, strict=True)) == {(0, 0), (1, 1)}


def test_manners_that_differ_in_an_underscore_have_a_column_each():
    matrix = manners(styles=("by_law", "by law", "plain"))["comply"]
    (heat, squares) = plot_manners([{"comply": matrix}]).data
    assert all(len(row) == 3 for row in heat.z) and heat.x is None
    assert set(zip(squares.x, squares.y, strict=True)) == {(0, 0), (1, 1)}
    assert [row[0] for row in heat.z[:2]] == [1, 0]


def test_each_stop_of_a_slider_has_a_frame_of_its_own():
    figure = plot_across_layers(structure(), titles=ALIKE)
    names = [frame.name for frame in figure.frames]
    (slider,) = figure.layout.sliders
    assert len(set(names)) == len(CATEGORIES) > len({step.label for step in slider.steps})
    assert [step.args[0][0] for step in slider.steps] == names


def test_two_models_of_one_name_have_a_panel_each():
    g = geometry(CATEGORIES[:2])
    figure = plot_lengths(g, control=replace(g, length=2 * g.length), names=("m", "m"))
    assert len({t.xaxis for t in figure.data}) == 2
    assert [a.text for a in figure.layout.annotations] == ["m", "m"]

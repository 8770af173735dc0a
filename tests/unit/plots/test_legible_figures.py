"""What can be read in a figure as it is printed: error bars, headings, titles of axes."""

from dataclasses import replace

from support.synthetic.geometry import geometry
from support.synthetic.records import token_map, trade_off

from refusal_lens.plots import plot_cosines, plot_tokens, plot_trade_off


def shade_of_bars(n: int) -> float:
    """The opacity of the error bars in a figure of so many curves."""
    record = trade_off()
    curve = record.curves[0]
    curves = tuple(replace(curve, name=f"control: {i}") for i in range(n))
    (shade,) = {
        float(trace.error_y.color.removesuffix(")").rpartition(",")[2])
        for trace in plot_trade_off(replace(record, curves=curves)).data
    }
    return shade


def test_few_curves_have_bars_that_can_be_seen_and_many_a_shadow():
    assert shade_of_bars(2) >= 0.5 > shade_of_bars(11) > 0.1


def test_the_names_of_two_models_break_where_their_column_is_narrow():
    names = ("smollm2-planted (adapter scale 1)", "smollm2-planted (adapter scale 0)")
    figure = plot_cosines(geometry(), control=geometry(seed=1), names=names)
    (heading,) = [a.text for a in figure.layout.annotations if a.text.startswith("reliability")]
    assert max(map(len, heading.split("<br>"))) < 22


def test_the_title_under_tokens_goes_below_the_longest():
    axis = plot_tokens(token_map("one word")).layout.xaxis
    assert axis.automargin and axis.title.standoff > 0

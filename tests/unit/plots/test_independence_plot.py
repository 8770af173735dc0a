"""The matrices and the table of representational independence show the record and its test."""

from support.synthetic.independence import independence

from refusal_lens.plots.independence import plot_independence
from refusal_lens.plots.text import escape
from refusal_lens.tables.independence import independence_table


def test_only_the_planted_dependence_is_bold():
    figure = plot_independence(independence())
    whole, downstream = figure.data
    assert len(whole.z) == len(downstream.z) == 4  # three directions and the random ones
    bold = [
        (i, j)
        for i, row in enumerate(downstream.text)
        for j, cell in enumerate(row)
        if "<b>" in cell
    ]
    assert bold == [(1, 0)]
    assert "<b>" not in "".join(cell for row in whole.text for cell in row)


def test_names_are_text_in_figure_and_table():
    names = ("<b>x</b>", "<script>alert(1)</script>", "plain")
    figure = plot_independence(independence(names))
    shown = str(figure.data[0].customdata) + str(figure.layout.xaxis.ticktext)
    assert "<script>" not in shown and "<b>x</b>" not in shown
    assert independence_table(independence(names), {}).rows[0][0].text == names[1]


def test_a_hover_has_the_whole_name_escaped_once():
    names = ("prompts about money & law", "green", "blue")
    hover = plot_independence(independence(names)).data[0].customdata[0][1]
    assert escape(names[0]) in hover and "&#38;#38;" not in hover


def test_the_table_begins_with_the_largest_dependence():
    table = independence_table(independence(), {"green": "Green"})
    first = [cell.text for cell in table.rows[0]]
    assert first[:2] == ["Green", "red"] and float(first[-1]) < 0.001
    assert len(table.rows) == 6 and "n = 12" in table.caption

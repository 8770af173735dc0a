"""Figures and tables of a monitor show every variant, and what the numbers are of."""

from support.synthetic.monitor import VARIANTS, N, trial

from refusal_lens.plots import plot_monitor, plot_monitor_curves
from refusal_lens.plots.palette import CONTROL
from refusal_lens.tables.monitor import (
    false_alarms_table,
    layers_table,
    monitor_summary_table,
    variants_table,
)


def test_a_row_for_each_variant_with_flagged_prompts_of_both_sides():
    figure = plot_monitor(trial())
    names = figure.layout.yaxis.ticktext
    assert len(names) == len(VARIANTS) and CONTROL in names[1] and CONTROL not in names[0]
    flagged = next(t for t in figure.data if t.name == "harmful prompts")
    assert list(flagged.x) == [hits / N for *_, hits in VARIANTS]
    lines = [shape.x0 for shape in figure.layout.shapes]
    assert lines == [0.05, 0.5]  # the bound on false alarms, and chance


def test_curves_of_both_detectors_and_shares_by_token():
    figure = plot_monitor_curves(trial())
    assert len(figure.data) == 3 * len(VARIANTS)
    last = [t for t in figure.data if t.showlegend]
    assert [round(t.y[-1], 2) for t in last] == [0.95, 0.05, 0.3]
    assert {t.line.dash for t in last} == {"solid", "dot", "dash"}


def test_tables_say_n_interval_control_and_the_bound():
    table = variants_table(trial())
    assert [row[0].text for row in table.rows] == [title for _, title, *_ in VARIANTS]
    assert table.rows[0][3].text.startswith("95% [") and table.rows[0][4].text == "0.0030 *"
    assert "n = 20 harmful" in table.caption and "control: .5" in table.caption
    alarms = false_alarms_table(trial())
    assert alarms.rows[0][1].text.startswith("5% [") and "bound 5.0%" in alarms.caption
    assert "200 unedited prompts" in alarms.caption
    assert len(layers_table(trial()).head) == 3
    assert "5% [2, 14], n = 60" in monitor_summary_table(trial()).caption


def test_latency_is_that_of_half_of_the_flagged():
    first = trial().row("ablated")
    assert first.latency == 1  # 48% after one token, of 95% in the end

"""Figures and tables of refusal tokens show the numbers of their records."""

import pytest
import torch
from support.synthetic.refusal_tokens import P, carved, readings, roc

from refusal_lens.plots import plot_carved, plot_token_roc, plot_tokens_chosen
from refusal_lens.plots.text import percent_interval
from refusal_lens.refusal_tokens import measure_roc
from refusal_lens.refusal_tokens.carved import OWN_TOKEN
from refusal_lens.tables.refusal_tokens import (
    carved_table,
    token_categories_table,
    token_summary_table,
)


def trace(figure, meta):
    return next(t for t in figure.data if t.meta == meta)


def test_the_curve_runs_from_always_to_never_through_the_unedited_point():
    figure = plot_token_roc(roc())
    curve = trace(figure, "threshold:text")
    assert (curve.x[0], curve.y[0], curve.x[-1], curve.y[-1]) == (1, 1, 0, 0)
    star = trace(figure, "unedited:text")
    assert (star.x[0], star.y[0]) == (0.25, 0.5)  # of P, what is above one half
    bias = trace(figure, "bias:text:comply")
    assert bias.x[bias.y.index(0.25)] == 0 and list(bias.y) == sorted(bias.y)


def test_a_line_for_each_place_has_its_means_and_a_band():
    figure = plot_carved(carved())
    line = next(t for t in figure.data if t.name == OWN_TOKEN)
    assert [round(y, 2) for y in line.y] == [0.8, 0.6, 0.4, 0.2]
    bands = [t for t in figure.data if t.fill == "toself"]
    assert len(bands) == 2
    assert max(y for y in bands[1].y if y is not None) == pytest.approx(0.9)


def test_a_band_has_a_gap_where_there_is_no_mean():
    record = carved()
    record.mean[1, 1] = torch.nan
    band = [t for t in plot_carved(record).data if t.fill == "toself"][1]
    pieces = [[layer for layer, _ in piece] for piece in split_at_gaps(band.x, band.y)]
    assert pieces == [[0, 0], [2, 3, 3, 2]]


def split_at_gaps(x, y):
    pieces = [[]]
    for point in zip(x, y, strict=True):
        pieces.append([]) if None in point else pieces[-1].append(point)
    return [piece for piece in pieces if piece]


def test_the_map_of_tokens_shows_shares_of_prompts():
    heat = plot_tokens_chosen(roc()).data[0]
    assert [list(row) for row in heat.z] == [[1, 0], [0, 1]]


def test_tables_say_what_is_in_the_records():
    area, *_, harmful, _, _, _, _, mass = (row[1].text for row in token_summary_table(roc()).rows)
    assert harmful == percent_interval(roc().unedited.text[0]) and harmful.startswith("50% [")
    assert area == "undefined"  # four a side are too few
    assert mass == "1.000"
    advice, safety = token_categories_table(roc(), titles={"advice": "Advice"}).rows
    assert advice[0].text == "Advice" and safety[0].text == "safety"
    never_emitted = advice[4].text
    assert never_emitted == percent_interval(roc().rows[0].off) and never_emitted.startswith("0%")
    rows = carved_table(carved()).rows
    last = rows[-1]
    assert (last[0].text, last[1].text) == (OWN_TOKEN, "3")
    assert last[2].text == "0.20 [0.10, 0.30]" and "q 0.0200" in last[6].text
    assert rows[0][6].text == "–"


def test_the_curves_follow_the_probabilities():
    doubled = measure_roc(readings(), thresholds=tuple(sorted(P.tolist())))
    harmful = [p.token[0].value for p in doubled.by_threshold]
    assert harmful == sorted(harmful, reverse=True) and harmful[0] == 1.0

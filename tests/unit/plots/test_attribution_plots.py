"""Figures of attribution beside what was not measured, or measured at other points."""

from dataclasses import replace

import pytest
import torch
from support.synthetic.attribution import decomposition, knock_out, profiles
from support.synthetic.geometry import CATEGORIES, TITLES

from refusal_lens.attribution import component_matrix
from refusal_lens.plots import plot_depth, plot_knock_outs, plot_writers
from refusal_lens.plots.front import plot_front_writers
from refusal_lens.plots.text import number, value_interval

FEW = CATEGORIES[:2]


def test_a_profile_that_was_not_steered_can_be_drawn():
    profile = profiles(FEW)[0]
    steered = [f for f in vars(profile) if f.startswith(("ablation", "addition"))]
    nothing = {f: torch.full_like(getattr(profile, f), torch.nan) for f in steered}
    figure = plot_depth([replace(profile, **nothing, steered_by="not steered")])
    shown = {t.meta for t in figure.data if t.meta}
    assert not shown & {*steered} and {"decodable", "lens_refuse", "heads"} <= shown
    assert figure.layout.yaxis2.range is not None


def test_the_sum_of_the_other_writers_has_no_interval():
    attribution = decomposition(FEW).attribution(FEW[0])
    bars = plot_writers([attribution], {}).data[0]
    rest = bars.customdata[-1]
    assert f"{number(bars.x[-1])}, " in rest and "[" not in rest
    assert "[" in bars.customdata[-2]
    assert all(end != end for end in (bars.error_x.array[-1], bars.error_x.arrayminus[-1]))


def test_knock_outs_of_other_counts_share_one_axis():
    first, second = knock_out(FEW[0]), knock_out(FEW[1])
    second = replace(second, cuts=replace(second.cuts, counts=(1, 2, 4, 8)))
    figure = plot_knock_outs([first, second], titles=TITLES)
    ticks = dict(zip(figure.layout.xaxis.ticktext, figure.layout.xaxis.tickvals, strict=True))
    assert list(ticks) == ["0", "1", "2", "4", "8"]
    curves = [t for t in figure.data if t.customdata is not None and t.xaxis == "x"]
    for k, curve in zip((first, second), curves, strict=True):
        assert list(curve.x) == [ticks[str(n)] for n in k.cuts.counts]
    assert curves[0].customdata[0].endswith("none")
    assert curves[1].customdata[0].endswith(second.order[0].name)


def test_a_count_of_pairs_stands_behind_its_n():
    whole = decomposition(FEW)
    matrix = component_matrix([whole.attribution(c) for c in FEW])
    other = decomposition(FEW, 1)
    shares = matrix.mean_shares({c: other.attribution(c) for c in FEW})
    bars = plot_front_writers(shares).data[0]
    part = max(shares, key=lambda c: abs(shares[c].value))
    share = shares[part]
    assert bars.x[0] == pytest.approx(share.value)
    assert bars.customdata[0] == (
        f"<b>{part.name}</b>: {value_interval(share, 3)}, n = {share.n} pairs of all categories, "
        f"control {number(share.control, 3)}"
    )

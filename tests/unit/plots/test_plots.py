"""Figures: what they promise, on synthetic records with the sizes of the planted model."""

import html
import json
from dataclasses import replace

import plotly.graph_objects as go
import pytest
from support.synthetic.geometry import (
    CATEGORIES,
    HOSTILE,
    LAYERS,
    PAYLOADS,
    TITLES,
    geometry,
)
from support.synthetic.records import (
    candidates,
    direction_set,
    token_map,
    trade_off,
)

from refusal_lens.plots import (
    plot_cosines,
    plot_layers,
    plot_lengths,
    plot_reliability,
    plot_separation,
    plot_tokens,
    plot_trade_off,
)
from refusal_lens.plots.palette import CONTROL, mark_of, marks
from refusal_lens.plots.text import escape, token, visible
from refusal_lens.selection import Selection


def figures(titles: dict[str, str]) -> dict[str, go.Figure]:
    """Every figure on synthetic records."""
    g, other = geometry(), geometry(seed=1)
    names = (PAYLOADS[0], PAYLOADS[1]) if titles is HOSTILE else ("scale 1", "scale 0")
    picked = Selection(candidates(), (7,), 7, None)
    off = trade_off()
    if titles is HOSTILE:
        off = replace(
            off,
            curves=tuple(replace(c, name=p) for c, p in zip(off.curves, PAYLOADS, strict=False)),
        )
    return {
        "cosines": plot_cosines(g, titles=titles, control=other, names=names),
        "naive": plot_cosines(g, titles=titles, value="naive"),
        "reliability": plot_reliability(g, titles=titles, control=other, names=names),
        "lengths": plot_lengths(g, titles=titles, control=other, names=names),
        "separation": plot_separation(
            direction_set(), titles=titles, control=direction_set(seed=1), names=names
        ),
        "layers": plot_layers(candidates(), selection=picked),
        "trade_off": plot_trade_off(off, titles=titles),
        "tokens": plot_tokens(token_map(" ".join(PAYLOADS)), titles=titles),
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, go.Figure]:
    return figures(TITLES)


@pytest.fixture(scope="module")
def hostile() -> dict[str, go.Figure]:
    return figures(HOSTILE)


def test_cosines_have_a_fixed_zero_centred_range_square_cells_and_a_step_a_layer() -> None:
    figure = plot_cosines(geometry(), titles=TITLES, control=geometry(seed=1), layer=15)
    layout = figure.to_dict()["layout"]
    colour = layout["coloraxis"]
    assert (colour["cmin"], colour["cmax"], colour["cmid"]) == (-1, 1, 0)
    assert colour["colorscale"][-1][1] == "rgb(103,0,31)"  # red is positive
    assert (layout["yaxis"]["scaleanchor"], layout["yaxis2"]["scaleanchor"]) == ("x", "x2")
    (slider,) = layout["sliders"]
    assert [s["label"] for s in slider["steps"]] == [str(i) for i in range(LAYERS)]
    assert slider["active"] == 15
    assert [f.name for f in figure.frames] == [s["args"][0][0] for s in slider["steps"]]
    assert layout["width"] <= 1200
    side = [layout[f"xaxis{i}"]["domain"] for i in ("", "2")]
    inner = layout["width"] - layout["margin"]["l"] - layout["margin"]["r"]
    height = layout["height"] - layout["margin"]["t"] - layout["margin"]["b"]
    for start, end in side:
        assert (end - start) * inner == pytest.approx(height, abs=1)


def test_both_panels_move_with_the_slider() -> None:
    g, other = geometry(), geometry(seed=1)
    figure = plot_cosines(g, titles=TITLES, control=other, layer=3)
    frame = figure.frames[20]
    assert frame.traces == tuple(range(len(figure.data) - 1))  # the last one keeps the colour scale
    for trace, source in ((frame.data[0], g), (frame.data[3], other)):
        assert trace.z[2][5] == pytest.approx(float(source.corrected[20, 2, 5]), abs=1e-3)
        assert trace.text[2][5].replace("−", "-") == f"{float(source.corrected[20, 2, 5]):.2f}"


def hover(figure: go.Figure, trace: int, layer: int, row: int, column: int) -> str:
    """What plotly makes of a cell's hover template."""
    data = figure.frames[layer].data[trace].customdata[row][column]
    text = figure.frames[layer].data[trace].hovertemplate
    for i, value in enumerate(data):
        text = text.replace(f"%{{customdata[{i}]}}", str(value))
    return text


def test_cosine_hovers_hold_both_categories_layer_interval_ceiling_reliability_and_n() -> None:
    text = hover(plot_cosines(geometry(), titles=TITLES), 0, 12, 0, 2)
    for part in ("safety core", "humanizing", "resid_pre[12]", "offset -1", "ceiling", "n = 30"):
        assert part in text
    assert text.count("reliability") == 2
    assert "[" in text.split("corrected")[1].split("<br>")[0]
    assert "%{" not in text


def test_undefined_and_not_measurable_cells_are_marked() -> None:
    figure = plot_cosines(geometry(), titles=TITLES, layer=0)
    shown, missing, hatch = figure.data[:3]
    assert all(v is None for row in shown.z for v in row)
    assert all(t == "undefined" for row in missing.text for t in row)
    assert "corrected undefined" in hover(figure, 0, 0, 0, 1)
    assert not hatch.x
    shown, missing, hatch = figure.frames[5].data[:3]
    last = len(CATEGORIES) - 1
    assert all(t == "" for row in missing.text for t in row)
    assert {(last, i) for i in range(last)} <= set(zip(hatch.x, hatch.y, strict=True))
    assert "not measurable" in hover(figure, 0, 5, last, 0)
    assert not figure.frames[-1].data[2].x


def test_a_control_with_other_categories_leaves_them_undefined() -> None:
    figure = plot_cosines(geometry(), titles=TITLES, control=geometry(CATEGORIES[:3]), layer=9)
    assert figure.data[3].z[0][2] is not None
    assert figure.data[3].z[0][3] is None
    assert "not measured" in hover(figure, 3, 9, 0, 3)


def test_curves_break_where_undefined_and_hovers_hold_n(drawn: dict[str, go.Figure]) -> None:
    for name in ("reliability", "lengths", "separation"):
        lines = [t for t in drawn[name].data if t.customdata is not None]
        assert lines
        assert all(t.y[0] is None for t in lines), name
        assert all("n = 30" in text for t in lines for text in t.customdata), name


def test_layer_curves_have_intervals_controls_and_the_choice(drawn: dict[str, go.Figure]) -> None:
    figure = drawn["layers"]
    curves = [t for t in figure.data if t.error_y.array is not None]
    assert len(curves) == 3
    assert all("n = 24" in text and "[" in text for t in curves for text in t.customdata)
    dashed = [t for t in figure.data if t.line.dash == "dash"]
    assert [t.y[0] for t in dashed] == [3.1, -6.1]
    assert any("layer 15" in (a.text or "") for a in figure.layout.annotations)


def test_trade_off_has_a_curve_a_direction_with_grey_dashed_controls(
    drawn: dict[str, go.Figure],
) -> None:
    figure = drawn["trade_off"]
    left = [t for t in figure.data if t.showlegend is not False]
    assert len(left) == len(CATEGORIES) + 3
    assert [t.line.color for t in left][: len(CATEGORIES)] == [
        m.colour for m in marks(TITLES).values()
    ]
    for trace in left[-2:]:
        assert trace.line.color == CONTROL
        assert trace.line.dash != "solid"
    assert "strength +1" in left[0].customdata[-1]
    assert "n = 12" in left[0].customdata[-1]


def test_tokens_are_visible_and_the_scale_is_two_sided() -> None:
    figure = plot_tokens(token_map("a b"), titles=TITLES)
    (heatmap,) = figure.data
    assert (heatmap.zmin, heatmap.zmid, heatmap.zmax) == (-0.5, 0.5, 1.5)
    assert figure.layout.xaxis.ticktext[:4] == ("␣a", "␣b", "∅", "↵")
    assert heatmap.z[0][0] is None
    assert "undefined" in heatmap.customdata[0][0]
    assert "position 24" in heatmap.customdata[1][0]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_escape_leaves_nothing_that_plotly_or_html_acts_on(payload: str) -> None:
    safe = escape(payload)
    assert not set(safe) & set("<>\"'{$")
    assert html.unescape(safe) == payload


def test_hidden_characters_are_written_out() -> None:
    assert visible("a\u202eb\u200bc\x07") == "a\\u202eb\\u200bc\\u0007"
    assert visible("a\nb\tc") == "a↵b⇥c"
    assert token(" x") == "␣x"
    assert token("\u202e<") == "\\u202e&#60;"


def test_no_figure_holds_markup_of_others(hostile: dict[str, go.Figure]) -> None:
    for name, figure in hostile.items():
        raw = json.dumps(json.loads(figure.to_json() or ""), ensure_ascii=False)
        assert "&#60;" in raw or name == "layers"
        for piece in ("<script", "<a ", "<img", "%{z}", "$", "bold</b>"):
            assert piece not in raw, (name, piece)


def test_marks_are_the_same_in_every_figure_and_distinct() -> None:
    category_marks = marks(TITLES)
    assert len({m.colour for m in category_marks.values()}) == len(CATEGORIES)
    assert mark_of("hate_speech", TITLES) == category_marks["hate_speech"]
    assert mark_of("control: random", TITLES, ["control: random"]).colour == CONTROL

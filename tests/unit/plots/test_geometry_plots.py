"""Figures of the geometry stages: the record's numbers reach them, and nothing is made up."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
import torch
from support.synthetic.geometry import (
    CATEGORIES,
    HOSTILE,
    LAYER,
    LAYERS,
    PAYLOADS,
    TITLES,
    comparison,
    contrasts,
    geometry,
    separability,
    shared_pool,
    structure,
)
from support.words import numbers, says

from refusal_lens.geometry import change_over_layers, verdicts
from refusal_lens.geometry.comparison import SeparabilityVerdict
from refusal_lens.plots import (
    plot_across_layers,
    plot_angles,
    plot_clusters,
    plot_contrasts,
    plot_cosines,
    plot_curves,
    plot_difference,
    plot_dimension,
    plot_map,
    plot_pool_effects,
    plot_pooled_cosines,
    plot_remainders,
    plot_separability,
    plot_shares,
)
from refusal_lens.plots.text import estimate_text, interval, number, probability
from refusal_lens.records import Estimate
from refusal_lens.tables.contrasts import contrasts_table
from refusal_lens.tables.cosines import meeting_table
from refusal_lens.tables.separability import separability_table


def synthetic_verdicts() -> dict[str, SeparabilityVerdict]:
    return verdicts(separability(), comparison())


def figures(titles: dict[str, str]) -> dict[str, go.Figure]:
    g, other, fitted_structure = geometry(), geometry(seed=1), structure()
    shared: dict[str, Any] = {"titles": titles}
    names = (PAYLOADS[0], PAYLOADS[1]) if titles is HOSTILE else ("scale 1", "scale 0")
    framed = geometry(frame=PAYLOADS[3] if titles is HOSTILE else "whitened")
    return {
        "framed": plot_cosines(framed, **shared),
        "difference": plot_difference(comparison(), g, other, **shared, names=names),
        "separability": plot_separability(separability(), synthetic_verdicts(), **shared),
        "shares": plot_shares(g, other, comparison(), synthetic_verdicts(), **shared, names=names),
        "curves": plot_curves(g, **shared),
        "clusters": plot_clusters(fitted_structure, **shared),
        "map": plot_map(fitted_structure, **shared),
        "remainders": plot_remainders(fitted_structure, **shared),
        "angles": plot_angles(fitted_structure, **shared),
        "own layers": plot_across_layers(fitted_structure, **shared),
        "pooled": plot_pooled_cosines(shared_pool(), **shared),
        "pool effects": plot_pool_effects(shared_pool(), **shared),
        "contrasts": plot_contrasts(
            contrasts(PAYLOADS[:2] if titles is HOSTILE else None), layer=LAYER
        ),
    }


@pytest.fixture(scope="module")
def drawn() -> dict[str, go.Figure]:
    return figures(TITLES)


def range_of(figure: go.Figure) -> tuple[Any, ...]:
    colour = figure.to_dict()["layout"]["coloraxis"]
    return colour["cmin"], colour.get("cmid"), colour["cmax"]


def test_ranges_are_fixed_and_zero_centred(drawn: dict[str, go.Figure]) -> None:
    for name in ("framed", "difference", "own layers", "pooled", "pool effects", "contrasts"):
        assert range_of(drawn[name]) == (-1, 0, 1), name
    assert range_of(drawn["angles"]) == (0, None, 90)
    low, middle, high = range_of(drawn["separability"])
    assert (low, middle) == (-high, 0)
    assert range_of(drawn["clusters"])[::2] == (0, 1)


def test_the_difference_is_the_records_with_both_cosines_beside() -> None:
    c, g, other = comparison(), geometry(), geometry(seed=1)
    figure = plot_difference(c, g, other, titles=TITLES, layer=20)
    assert figure.layout.sliders[0].active == 20
    shown = figure.frames[20].data[0]
    assert shown.z[1][4] == pytest.approx(float(c.cosine[20, 1, 4]), abs=1e-4)
    ends = (float(x[20, 1, 4]) for x in (c.cosine, c.cosine_low, c.cosine_high))
    ours, theirs = (
        interval(*(float(x[20, 1, 4]) for x in (m.corrected, m.low, m.high))) for m in (g, other)
    )
    assert shown.customdata[1][4][2:4].tolist() == [interval(*ends), "30"]
    assert (shown.customdata[1][4][4], shown.customdata[1][4][6]) == (ours, theirs)
    assert "resid_pre[20]" in shown.hovertemplate and "offset -1" in shown.hovertemplate
    assert all(v is None for row in figure.frames[0].data[0].z for v in row)


def test_struck_where_either_model_is_not_measurable() -> None:
    other = geometry(seed=1)
    sure = replace(other, reliability_low=torch.full_like(other.reliability_low, 0.9))
    unsure = torch.full_like(other.reliability_low, 0.9)
    unsure[:, 2] = 0.4
    weak = replace(geometry(), reliability_low=unsure)
    for model, control in ((weak, sure), (sure, weak)):
        figure = plot_difference(comparison(), model, control, titles=TITLES, layer=20)
        hatch = figure.frames[20].data[2]
        assert {2 in cell for cell in zip(hatch.x, hatch.y, strict=True)} == {True}
        assert len(hatch.x) == 2 * len(CATEGORIES) - 1


def test_separability_marks_p_and_undefined_and_keeps_the_two_words_apart() -> None:
    tests = separability()
    figure = plot_separability(tests, synthetic_verdicts(), titles=TITLES)
    shown, missing = figure.data
    assert shown.z[0][20] == pytest.approx(float(tests.z[0, 1, 20]), abs=0.01)
    dots = {bool(t) == bool(p <= 0.05) for row, p_row in zip(shown.text, tests.p_max[:, 1].tolist(),
            strict=True) for t, p in zip(row, p_row, strict=True)}  # fmt: skip
    assert dots == {True}
    assert all(v == 0 for v in missing.z[-1]) and all(v is None for v in shown.z[-1])
    texts = [a.text for a in figure.layout.annotations]
    assert says(texts[0], probability(float(tests.q[0])), synthetic_verdicts()[CATEGORIES[0]])
    assert synthetic_verdicts()[CATEGORIES[0]] == "refusal direction"
    assert says(texts[-2], "0.6000", "not separable")
    assert says(texts[-1], number(None), "undefined")
    bare = plot_separability(tests, verdicts(tests, None), titles=TITLES)
    assert "separable" in bare.layout.annotations[0].text
    assert not any("refusal direction" in a.text for a in bare.layout.annotations)
    assert [s.label for s in figure.layout.sliders[0].steps] == ["−2", "−1"]
    assert "9999 sign flips" in shown.customdata[0][5]


def test_the_table_holds_both_shares_their_difference_and_the_verdict() -> None:
    g, other, c, tests = geometry(), geometry(seed=1), comparison(), separability()
    table = separability_table(
        tests, synthetic_verdicts(), (g, other, c), titles=TITLES, layer=LAYER
    )
    cells = [cell.text for cell in table.rows[3]]
    ends = (float(x[LAYER, 3]) for x in (c.share, c.share_low, c.share_high))
    assert cells == [
        TITLES[CATEGORIES[3]],
        "30",
        probability(float(tests.q[3])),
        number(float(g.share[LAYER, 3])),
        number(float(other.share[LAYER, 3])),
        interval(*ends),
        probability(float(c.q[3])),
        "refusal direction",
    ]
    assert "“Separable”" in table.caption and "“Refusal direction”" in table.caption
    alone = separability_table(tests, verdicts(tests, None), None, titles=TITLES, layer=LAYER)
    assert [cell.text for cell in alone.rows[3]][3:] == ["separable"]
    assert len(alone.head) == len(alone.rows[3]) == 4


def test_shares_have_a_panel_a_category_with_its_verdict(drawn: dict[str, go.Figure]) -> None:
    figure, c = drawn["shares"], comparison()
    headings = [a.text for a in figure.layout.annotations]
    assert headings[0] == f"{TITLES[CATEGORIES[0]]}: refusal direction"
    last = [f"{TITLES[c]}: {synthetic_verdicts()[c]}" for c in CATEGORIES[-2:]]
    assert headings[-2:] == last and [*synthetic_verdicts().values()][-2:] == [
        "not separable",
        "undefined",
    ]
    differences = [t for t in figure.data if t.name == "difference"]
    assert len(differences) == len(CATEGORIES)
    assert differences[4].y[9] == pytest.approx(float(c.share[9, 4]), abs=1e-4)
    assert differences[4].y[0] is None
    assert "[" in differences[4].customdata[9] and "n = 30" in differences[4].customdata[9]


def test_curves_show_one_category_at_a_time_with_bands() -> None:
    g = geometry()
    figure = plot_curves(g, titles=TITLES, layer=LAYER)
    (menu,) = figure.layout.updatemenus
    others = len(CATEGORIES) - 1
    assert [b.label for b in menu.buttons] == [TITLES[c] for c in CATEGORIES]
    for k, button in enumerate(menu.buttons):
        shown = [t for t, on in zip(figure.data, button.args[0]["visible"], strict=True) if on]
        lines = [t for t in shown if t.fill is None]
        assert (len(lines), len(shown)) == (others, 2 * others)
        j = 0 if k else 1
        assert lines[0].y[17] == pytest.approx(float(g.corrected[17, k, j]), abs=1e-4)
        assert lines[0].y[0] is None
        low, high = (float(x[17, k, j]) for x in (g.low, g.high))
        assert interval(lines[0].y[17], low, high) == lines[0].customdata[17]
    assert [bool(t.visible) for t in figure.data] == list(menu.buttons[0].args[0]["visible"])


def test_the_meeting_table_names_only_changes_with_an_interval_without_0() -> None:
    g = geometry()
    a, b, c = CATEGORIES[:3]
    far = change_over_layers(g, a, b, 5, LAYER)
    nothing = Estimate(0.1, -0.2, 0.4, 30, "m")
    apart = Estimate(-0.5, -0.6, -0.4, 30, "m")
    undefined = Estimate(None, None, None, 30, "m")
    changes = {(a, b): (nothing, undefined), (a, c): (nothing, apart), (b, c): (far, far)}
    sure = far.low is not None and far.high is not None and not far.low <= 0 <= far.high
    table = meeting_table(changes, (5, LAYER, 29), titles=TITLES)
    names = [row[0].text for row in table.rows]
    assert f"{TITLES[a]} × {TITLES[b]}" not in names
    assert len(names) == 1 + sure
    row = table.rows[names.index(f"{TITLES[a]} × {TITLES[c]}")]
    assert row[1].text == "0.10 [−0.20, 0.40], n = 30"
    assert row[2].text.removesuffix(estimate_text(apart)) not in ("", row[2].text)
    assert estimate_text(apart) == "−0.50 [−0.60, −0.40], n = 30"
    assert [numbers(head) for head in table.head[1:]] == [["5", str(LAYER)], [str(LAYER), "29"]]


def test_effective_dimension_has_a_band_and_its_random_reference() -> None:
    fitted_structure = structure()
    band, line, random = plot_dimension(fitted_structure, layer=LAYER).data
    assert list(line.y) == [e.value for e in fitted_structure.dimension]
    assert line.y[0] is None
    assert list(random.y) == [e.control for e in fitted_structure.dimension]
    assert random.line.dash == "dash"
    assert max(y for y in band.y if y is not None) == max(
        e.high for e in fitted_structure.dimension if e.high is not None
    )
    assert f"n = {fitted_structure.dimension[9].n}" in line.customdata[9]


def test_an_open_dot_is_a_remainder_that_is_not_reliable() -> None:
    fitted_structure = structure()
    doubt = fitted_structure.remainder_reliability.clone()
    doubt[LAYER, 2, 1] = 0.3
    figure = plot_remainders(replace(fitted_structure, remainder_reliability=doubt), titles=TITLES)
    symbols = {t.y[0]: t.marker.symbol for t in figure.data}
    assert symbols[2] == "circle-open"
    assert {s for y, s in symbols.items() if y != 2} == {"circle"}
    along = figure.data[: len(CATEGORIES)]
    assert [t.x[0] for t in along] == pytest.approx(fitted_structure.along[LAYER, :, 0].tolist())
    low = [t.x[0] - t.error_x.arrayminus[0] for t in along]
    assert low == pytest.approx(fitted_structure.along[LAYER, :, 1].tolist(), abs=1e-6)
    nowhere = plot_remainders(fitted_structure, titles=TITLES, layer=0)
    assert not nowhere.data
    assert sum(a.text == "undefined" for a in nowhere.layout.annotations) == 3 * len(CATEGORIES)


def test_the_tree_joins_at_the_links_distances_and_shares_its_rows_with_the_matrix() -> None:
    fitted_structure = structure()
    figure = plot_clusters(fitted_structure, titles=TITLES)
    *joins, same = figure.data
    heights = sorted(max(t.x) for t in joins)
    assert heights == pytest.approx(sorted(fitted_structure.links[:, 2].tolist()))
    labels = list(figure.layout.yaxis.ticktext)
    order = [CATEGORIES.index(next(c for c in CATEGORIES if label.startswith(TITLES[c] + " ·")))
             for label in labels]  # fmt: skip
    assert sorted(order) == list(range(len(CATEGORIES)))
    assert [int(x.split("· ")[1]) for x in labels] == [fitted_structure.clusters[i] for i in order]
    for y, i in enumerate(order):
        assert same.z[y] == pytest.approx(fitted_structure.together[i, order].tolist())
    # Two leaves that join first stand on neighbouring rows.
    first = min(joins, key=lambda t: max(t.x))
    i, j = (int(x) for x in fitted_structure.links[0, :2])
    assert {order[int(y)] for y in (first.y[0], first.y[-1])} == {i, j}
    assert number(fitted_structure.silhouette) in " ".join(
        a.text for a in figure.layout.annotations
    )


def test_ellipses_lie_at_the_95_percent_of_their_covariance() -> None:
    fitted_structure = structure()
    figure = plot_map(fitted_structure, titles=TITLES)
    edge, place = figure.data[4:6]
    assert (place.x[0], place.y[0]) == pytest.approx(fitted_structure.place[2].tolist())
    away = np.stack([edge.x, edge.y], 1) - fitted_structure.place[2].numpy()
    inverse = np.linalg.inv(fitted_structure.place_covariance[2].double().numpy())
    distance = np.einsum("pi,ij,pj->p", away, inverse, away)
    # .95 quantile of chi-squared with two degrees of freedom; places are rounded to four digits
    assert distance == pytest.approx(-2 * math.log(0.05), rel=0.02)


def test_angles_stand_beside_random_ones_with_ranks_on_the_diagonal() -> None:
    fitted_structure = structure()
    figure = plot_angles(fitted_structure, titles=TITLES)
    shown, missing, _ = figure.data[:3]
    assert missing.text[0][0] == f"rank {fitted_structure.rank[0]}"
    assert shown.z[0][1] == pytest.approx(float(fitted_structure.least_angle[0, 1]), abs=0.1)
    least, random = (
        float(fitted_structure.least_angle[0, 1]),
        float(fitted_structure.random_least_angle[0, 1]),
    )
    assert shown.text[0][1] == f"{least:.0f}<br>({random:.0f})"
    ranks = (0, *fitted_structure.rank[1:])
    angle = fitted_structure.least_angle.clone()
    angle[0] = angle[:, 0] = torch.nan
    gone = plot_angles(replace(fitted_structure, rank=ranks, least_angle=angle), titles=TITLES)
    assert gone.data[0].z[0][1] is None
    assert gone.data[1].text[0][1].startswith("undef")
    assert "undefined" in gone.data[0].customdata[0][1][0]


def test_a_direction_against_itself_has_a_step_a_category() -> None:
    fitted_structure = structure()
    figure = plot_across_layers(fitted_structure, titles=TITLES)
    assert len(figure.frames) == len(CATEGORIES)
    shown, missing, _ = figure.frames[3].data
    assert shown.z[5][21] == pytest.approx(
        float(fitted_structure.layer_cosines[3, 5, 21, 0]), abs=1e-4
    )
    assert shown.customdata[5][21][0] == interval(
        *fitted_structure.layer_cosines[3, 5, 21].tolist()
    )
    assert len(shown.z) == LAYERS
    assert shown.z[0][5] is None and missing.z[0][5] == 0
    assert TITLES[CATEGORIES[3]] in shown.hovertemplate


def test_the_pools_two_effects_are_shown_apart(drawn: dict[str, go.Figure]) -> None:
    left, right = drawn["pooled"].data[0], drawn["pooled"].data[3]
    noise, reference = drawn["pool effects"].data[0], drawn["pool effects"].data[3]
    assert [t.z[0][1] for t in (left, right, noise, reference)] == pytest.approx(
        [0.4, 0.7, 0.1, 0.3]
    )
    assert left.z[0][-1] is None and right.z[0][-1] is not None
    assert "0.70 [0.60, 0.80]" in left.customdata[0][1]
    assert not drawn["pooled"].layout.sliders
    assert "n = 30" in left.customdata[0][1][-1]


def test_contrasts_show_intervals_counts_and_what_entered(drawn: dict[str, go.Figure]) -> None:
    shown = drawn["contrasts"].frames[LAYER].data[0]
    assert shown.text[0][1] == "0.35<br>[0.15, 0.55]"
    assert shown.text[0][0] == "1.00"
    assert drawn["contrasts"].frames[0].data[0].z[0][1] is None
    assert drawn["contrasts"].layout.sliders[0].active == LAYER
    table = contrasts_table(contrasts(), None, titles=TITLES)
    groups = [f"{name} {n}" for name, n in contrasts().groups.items()]
    assert groups[:3] == ["harmful refused 52", "harmful complied 48", "benign refused 2"]
    assert says(table.caption, *groups)
    assert [row[1].text for row in table.rows] == ["4", "1"]
    assert table.rows[1][2].text == TITLES[CATEGORIES[0]]


def test_a_frame_is_named_over_its_matrix(drawn: dict[str, go.Figure]) -> None:
    assert "differences whitened" in drawn["framed"].layout.annotations[0].text
    plain = plot_cosines(geometry(), titles=TITLES)
    assert "differences" not in plain.layout.annotations[0].text


def test_no_figure_holds_markup_of_others() -> None:
    for name, figure in figures(HOSTILE).items():
        raw = json.dumps(json.loads(figure.to_json() or ""), ensure_ascii=False)
        assert "&#60;" in raw, name
        for piece in ("<script", "<a ", "<img", "%{z}", "$", "bold</b>"):
            assert piece not in raw, (name, piece)


def test_a_tiny_q_is_not_shown_as_zero() -> None:
    assert probability(3e-7) == "< 0.0001"
    assert probability(0.0113) == "0.0113"
    assert probability(math.nan) == "undefined"
    assert number(-0.001) == "0.00"
    assert interval(-0.3, -0.6, -0.001) == "−0.30 [−0.60, −0.00]"

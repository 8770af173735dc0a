"""Figures, sections and tables of attribution: what they promise, on synthetic records."""

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
import torch
from rich.console import Console
from support.synthetic.attribution import (
    HEADS,
    OFFSETS,
    PAIRS,
    decomposition,
    followed,
    head_path,
    hostile,
    knock_out,
    patched,
    profiles,
    stages,
)
from support.synthetic.geometry import CATEGORIES, HOSTILE, LAYER, LAYERS, PAYLOADS, TITLES
from support.synthetic.records import token_map
from support.synthetic.run import Page, run
from support.synthetic.run import trust as trust
from support.words import numbers, says

from refusal_lens.attribution import Component, component_matrix, patch_agreement
from refusal_lens.cli.screen import to_rich
from refusal_lens.errors import InputError
from refusal_lens.plots import (
    plot_answer_maps,
    plot_blocks,
    plot_component_matrix,
    plot_depth,
    plot_estimates,
    plot_heads,
    plot_knock_outs,
    plot_neurons,
    plot_patches,
    plot_paths,
    plot_sources,
    plot_writers,
)
from refusal_lens.plots.attribution.depth import POOLED, REPLACED
from refusal_lens.plots.palette import UNDEFINED
from refusal_lens.plots.text import escape, estimate_text, number, value_interval
from refusal_lens.records import Estimate
from refusal_lens.report.page import write_report
from refusal_lens.report.run import Run
from refusal_lens.report.sections.knock_out import SECTION as KNOCK_OUTS
from refusal_lens.study.stages.patching import PATCHES
from refusal_lens.tables.parts import attribution_of_run
from refusal_lens.tables.patches import pairs_text
from refusal_lens.tables.paths import regions_table, seen_in
from refusal_lens.tables.table import Table

SEEN = Component(7, "head", 2)
FIGURES = (
    "plot-writers",
    "plot-heads",
    "plot-component_matrix",
    "plot-patches",
    "plot-blocks",
    "plot-estimates",
    "plot-knock_outs",
    "plot-head_paths",
    "plot-head_sources",
    "plot-mlp_neurons",
    "plot-depth",
    "plot-answer_map_0",
    "plot-answer_map_3",
)


def figures(titles: dict[str, str]) -> dict[str, go.Figure]:
    mine = titles is HOSTILE
    names = (PAYLOADS[0], PAYLOADS[1]) if mine else ("scale 1", "scale 0")
    text = " ".join(PAYLOADS) if mine else " sorry"
    whole, other = decomposition(), decomposition(seed=1)
    attributions = [whole.attribution(c) for c in CATEGORIES]
    controls = {c: other.attribution(c) for c in CATEGORIES}
    real, fast = patched(tokens=(text, "b", "c"))
    shared: dict[str, Any] = {"titles": titles}
    return {
        "writers": plot_writers(attributions, controls, **shared),
        "heads": plot_heads(attributions, controls, **shared, names=names),
        "matrix": plot_component_matrix(
            component_matrix(attributions), controls, **shared, names=names
        ),
        "patches": plot_patches(real, **shared),
        "blocks": plot_blocks(real, **shared),
        "estimates": plot_estimates(fast, **shared),
        "knock-outs": plot_knock_outs([knock_out()], **shared),
        "paths": plot_paths({CATEGORIES[0]: [head_path(SEEN)]}, **shared),
        "sources": plot_sources([read(text)], **shared),
        "neurons": plot_neurons([followed()["neurons_0"]], **shared),
        "depth": plot_depth(profiles(token=text), **shared),
        "answer maps": plot_answer_maps([token_map(text)], **shared),
    }


def read(text: str = "") -> tuple[Any, Any, Any]:
    records = followed(CATEGORIES[0], text)
    return records["sources"], records["sources_twin"], records["regions"]


@pytest.fixture(scope="module")
def drawn() -> dict[str, go.Figure]:
    return figures(TITLES)


def shown(figure: go.Figure) -> list[Any]:
    return [t for t in figure.data if t.visible is not False]


def test_ranges_are_zero_centred_and_the_same_for_every_category(
    drawn: dict[str, go.Figure],
) -> None:
    for name in ("heads", "matrix", "patches", "estimates"):
        colour = drawn[name].to_dict()["layout"]["coloraxis"]
        assert colour["cmin"] == -colour["cmax"] and colour["cmid"] == 0, name
        assert all(t.coloraxis == "coloraxis" for t in drawn[name].data)
        assert drawn[name].to_dict()["layout"]["plot_bgcolor"] == UNDEFINED
    assert drawn["patches"].layout.coloraxis.cmax == 1
    low, high = drawn["writers"].layout.xaxis.range
    assert low == -high


def test_bars_with_the_rest_and_the_remainder_make_the_whole(drawn: dict[str, go.Figure]) -> None:
    attribution = decomposition().attribution(CATEGORIES[0])
    bars, control = shown(drawn["writers"])
    assert sum(bars.x) == pytest.approx(attribution.total - attribution.residual, abs=1e-9)
    assert bars.x[0] == pytest.approx(
        float(attribution.scores.abs().max()) * (1 if bars.x[0] > 0 else -1)
    )
    other = decomposition(seed=1).attribution(CATEGORIES[0])
    assert sum(control.x) == pytest.approx(other.total - other.residual, abs=1e-9)
    (note,) = drawn["writers"].layout.annotations
    assert says(note.text, number(attribution.total), "2e−06", "n = 30", number(other.total))
    assert bars.error_x.array[0] == pytest.approx(
        float(attribution.high[0] - attribution.scores[0])
    )


def test_the_menu_shows_one_category_with_its_names(drawn: dict[str, go.Figure]) -> None:
    figure = drawn["writers"]
    (menu,) = figure.layout.updatemenus
    assert [b.label for b in menu.buttons] == [escape(TITLES[c]) for c in CATEGORIES]
    seen, layout = menu.buttons[3].args
    assert seen["visible"] == [i // 2 == 3 for i in range(len(figure.data))]
    attribution = decomposition().attribution(CATEGORIES[3])
    first = attribution.components[int(attribution.scores.abs().argmax())].name
    assert layout["yaxis.ticktext"][0] == first
    assert figure.data[6].customdata[0].startswith(f"<b>{first}</b>")


def test_heads_stand_at_their_layer_with_the_control_beside(drawn: dict[str, go.Figure]) -> None:
    ours, theirs = shown(drawn["heads"])
    attribution = decomposition().attribution(CATEGORIES[0])
    k = [c.name for c in attribution.components].index("L7H2")
    assert ours.z[7][2] == pytest.approx(float(attribution.scores[k]), abs=1e-4)
    assert len(ours.z) == LAYER and len(ours.z[0]) == HEADS + 1
    other = decomposition(seed=1).attribution(CATEGORIES[0])
    assert theirs.z[7][2] == pytest.approx(float(other.scores[k]), abs=1e-4)
    assert ours.customdata[7][2].startswith("<b>L7H2</b>") and "n = 30" in ours.customdata[7][2]


def test_a_direction_of_the_first_layer_can_be_drawn() -> None:
    """Its heatmap has one row: the menu stands far above it, in panel heights."""
    whole = decomposition(CATEGORIES[:2])
    attributions = [whole.attribution(c) for c in whole.categories]
    kept = [i for i, c in enumerate(attributions[0].components) if c.layer == 0]
    first = [
        replace(
            a,
            components=tuple(a.components[i] for i in kept),
            scores=a.scores[kept],
            low=a.low[kept],
            high=a.high[kept],
        )
        for a in attributions
    ]
    figure = plot_heads(first, {}, titles=TITLES, names=("a", "b"))
    assert len(shown(figure)[0].z) == 1 and figure.layout.updatemenus[0].y <= 3


def test_recovery_is_the_records_and_undefined_is_grey(drawn: dict[str, go.Figure]) -> None:
    real, _ = patched()
    figure = drawn["patches"]
    recovery, placebo = figure.data[2:4]
    estimates = dict(zip(real.sites, real.estimates(CATEGORIES[0]), strict=True))
    site = next(s for s in real.sites if (s.point, s.layer, s.offset) == ("resid_pre", 9, -1))
    row = sorted({s.layer for s in real.sites if s.point == "resid_pre"}).index(9)
    column = OFFSETS.index(-1)
    assert recovery.z[row][column] == pytest.approx(estimates[site].value, abs=1e-4)
    assert placebo.z[row][column] == pytest.approx(estimates[site].control, abs=1e-4)
    assert f"n = {PAIRS}" in recovery.customdata[row][column]
    last = figure.data[-2]
    assert all(v is None for values in last.z for v in values)
    nothing = Estimate(None, None, None, 0, "recovery")
    assert estimate_text(nothing) in last.customdata[0][0]


def test_a_knock_out_names_what_is_gone_beside_random_parts(drawn: dict[str, go.Figure]) -> None:
    k = knock_out()
    _, strongest, random, benign = drawn["knock-outs"].data[:4]
    assert strongest.y[1] == pytest.approx(float(k.projection[1].mean()))
    assert k.order[0].name in strongest.customdata[1] and "n = 6" in strongest.customdata[1]
    assert set(random.y) == {9.0} and set(benign.y) == {-2.0}
    assert TITLES[CATEGORIES[0]] in {
        a.text.removeprefix("<b>").removesuffix("</b>")
        for a in drawn["knock-outs"].layout.annotations
    }


def test_what_takes_a_writers_place_has_a_row_of_its_own() -> None:
    mean, other = knock_out(), knock_out(CATEGORIES[1])
    zero = replace(mean, cuts=replace(mean.cuts, replacement="zero"), score=mean.score + 40)
    pooled = replace(mean, category="pooled")
    figure = plot_knock_outs([zero, mean, other, pooled], titles=TITLES)
    headings = [a.text for a in figure.layout.annotations]
    mean_row, zero_row = headings[:2], headings[2:4]
    assert all(REPLACED["mean"] in h and REPLACED["zero"] not in h for h in mean_row)
    assert all(REPLACED["zero"] in h and REPLACED["mean"] not in h for h in zero_row)
    bare = [
        h.replace(REPLACED[r], "")
        for h, r in zip(headings[:4], ["mean"] * 2 + ["zero"] * 2, strict=True)
    ]
    assert bare[:2] == bare[2:] and bare[0] != bare[1]  # what is read, in both rows alike
    assert figure.layout.yaxis4.range == figure.layout.yaxis2.range
    assert figure.layout.yaxis4.range[1] > float(zero.score.max())
    assert figure.layout.yaxis3.range == figure.layout.yaxis.range != figure.layout.yaxis2.range
    buttons = figure.layout.updatemenus[0].buttons
    names = [TITLES[CATEGORIES[0]], TITLES[CATEGORIES[1]], POOLED["pooled"]]
    assert sorted(b.label for b in buttons) == sorted(map(escape, names))
    button = next(b for b in buttons if b.label == escape(names[0]))
    assert sum(button.args[0]["visible"]) == 16  # both rows, both panels, four traces
    assert mean.scored_by == "first token"
    assert mean.scored_by in figure.data[5].customdata[0]
    assert mean.scored_by not in figure.data[1].customdata[0]  # the projection needs no score


def test_a_way_is_told_by_route_with_placebo_and_carriers(drawn: dict[str, go.Figure]) -> None:
    bars, placebo = shown(drawn["paths"])
    assert list(bars.x) == pytest.approx([3.15, 1.15, 0.0, 2.0])
    assert list(placebo.x) == pytest.approx([0.315, 0.115, 0.0, 0.2])
    assert bars.error_x.array[1] > 0 and bars.error_x.array[3] == pytest.approx(0)
    assert drawn["paths"].layout.yaxis.ticktext[0] == "<b>L7H2</b>, total"
    assert "L9 MLP 2.00" in bars.customdata[3] and f"n = {PAIRS}" in bars.customdata[0]


def test_words_stand_beside_those_of_the_twin(drawn: dict[str, go.Figure]) -> None:
    refuse, twin = shown(drawn["sources"])
    assert [list(row) for row in refuse.z] == [[0.1, 0.2, 3.0, 0.0], [0.0, 0.5, 0.5, 0.0]]
    assert not any(map(any, twin.z))
    assert drawn["sources"].layout.xaxis.ticktext[:3] == ("…", "Why", " sorry".replace(" ", "␣"))
    assert refuse.customdata[0][2].startswith("<b>L7H2</b> from ␣sorry: 3.00<br>position -2")
    table = regions_table([read()[2]], titles=TITLES)
    assert table.rows[0][2].text == "3.20 [3.20, 3.20], n = 2, control 0.00"
    text = seen_in([head_path(SEEN)], read()[2])
    routes = head_path(SEEN).routes()
    of_routes = [value_interval(e) for e in routes.values()]
    assert says(text, "L7H2", of_routes[0], number(routes["total"].control), *of_routes[1:])
    assert of_routes[0].startswith("3.15") and of_routes[-1] == "2.00 [2.00, 2.00]"
    request = read()[2].estimate(SEEN, "request")
    assert says(text.split(of_routes[-1])[1], "3.20 [3.20, 3.20]", number(request.control), "n = 2")
    assert value_interval(request) not in seen_in([head_path(SEEN)], None)


def test_neurons_stand_beside_what_chance_would_show(drawn: dict[str, go.Figure]) -> None:
    bars, *chance = shown(drawn["neurons"])
    assert list(bars.x) == [3.0, -1.0] and [t.x[0] for t in chance] == [2.0, -2.0]
    notes = [numbers(a.text) for a in drawn["neurons"].layout.annotations]
    assert ["6.00", "2", "2.00", "46", "4.00", "10"] in notes  # whole = shown + others, and n
    assert numbers(bars.customdata[0])[-2:] == ["10", "2.00"]  # n, and the largest by chance


def test_a_menu_does_not_move_the_axes() -> None:
    first, second = knock_out(), knock_out(CATEGORIES[1])
    lower = replace(second, projection=second.projection - 20)
    figure = plot_knock_outs([first, lower], titles=TITLES)
    low, high = figure.layout.yaxis.range
    assert low < float(lower.projection.min()) and high > float(first.projection[0].mean())
    assert figure.layout.yaxis2.range[0] < -6 and len(figure.layout.updatemenus) == 1


def test_depth_leaves_out_layers_that_were_not_measured(drawn: dict[str, go.Figure]) -> None:
    of = {t.meta: t for t in shown(drawn["depth"]) if t.meta}
    assert list(of["decodable"].x) == list(range(1, LAYERS, 3))
    assert set(of["decodable_shuffled"].y) == {0.5}
    assert of["ablation"].x[0] == 1
    heads = of["heads"]
    assert heads.y[LAYER - 1] is not None and heads.y[LAYER] is None


def test_no_figure_holds_markup_of_others() -> None:
    for name, figure in figures(HOSTILE).items():
        raw = json.dumps(json.loads(figure.to_json() or ""), ensure_ascii=False)
        assert "&#60;" in raw, name
        for piece in ("<script", "<a ", "<img", "%{z}", "$", "bold</b>"):
            assert piece not in raw, (name, piece)


def test_a_whole_run_gives_every_figure_and_no_note_of_a_gap(tmp_path: Path) -> None:
    records = stages()
    results = run(tmp_path / "run", records | {"answer_map_3": records["answer_map_0"]})
    written = write_report(results).read_text(encoding="utf-8")
    page = Page(written)
    plots = [d for d in page.of("div") if (d.get("id") or "") in FIGURES]
    assert tuple(d["id"] for d in plots) == FIGURES
    parts = [h["id"] for h in page.of("h3")]
    first = parts.index("attribution")
    assert parts[first : first + 7] == [
        "attribution",
        "patching",
        "knock-outs",
        "paths",
        "depth",
        "answer-maps",
        "tokens",
    ]
    section = written[written.index('<h3 id="attribution"') : written.index('<h3 id="methods"')]
    gaps = Page(section).gaps
    assert gaps == ["unfinished:tokens"]  # the study's own token map, which is not there
    real, fast = patched()
    sites = {s: i for i, s in enumerate(fast.sites)}
    columns = torch.tensor([sites[s] for s in real.sites])
    agreement = patch_agreement(
        replace(fast, sites=real.sites, estimate=fast.estimate[:, columns]), real
    )
    methods = page.words("table-methods")
    assert all(row[4] in methods for row in KNOCK_OUTS.methods(Run(results)))
    assert page.words("table-serving") and says(
        page.words("table-patch_agreement"), agreement.n_sites
    )
    assert pairs_text(agreement.overall) in page.words("table-patch_agreement")
    assert seen_in([head_path(SEEN)], read()[2]) in page.words()


def test_without_attribution_one_note_names_the_command(tmp_path: Path) -> None:
    results = run(tmp_path / "mine", {})
    page = Page(write_report(results).read_text(encoding="utf-8"))
    assert "`refusal-lens attribute mine`" in page.words("note-attribution_none")
    assert page.gap("note-attribution_none") == "unasked:attribution"
    assert "knock-outs" not in [h["id"] for h in page.of("h3")]
    assert KNOCK_OUTS.methods(Run(results))[0][4] not in page.words("table-methods")


def test_each_gap_says_why(tmp_path: Path) -> None:
    records = {"attribution": stages()["attribution"], "score": {"trust": trust()}}
    results = run(tmp_path / "run", records)
    results.add_gap("attribution_control", "d", "no control model was named")
    results.add_gap("patching", "d", "in no category <b> does the first token tell")
    results.add_gap("knock_out_4", "d", "not in a scored category")
    page = Page(write_report(results).read_text(encoding="utf-8"))
    patching = ("patches", "blocks", "estimates", "patch_agreement")
    for part, stage in (
        ("written_gap", "attribution_control"),
        *((part, "patching") for part in patching),
        ("knock_outs", "knock_out_4"),
    ):
        assert page.gap(f"note-{part}") == f"unmeasured:{stage}"
        assert str(results.gap(stage)) in page.words(f"note-{part}")
    assert page.gaps.count("unmeasured:patching") == len(patching)
    assert page.gap("note-depth") == "unfinished:depth"
    assert f"{TITLES[CATEGORIES[1]]} (opening)" in page.words("note-unscored")
    assert f"{TITLES[CATEGORIES[2]]} (generation only)" in page.words("note-unscored")


@pytest.mark.slow  # writes a whole page
def test_the_whole_maps_are_shown_where_they_were_measured(tmp_path: Path) -> None:
    records = stages(CATEGORIES[:4])
    records["depth_full"] = {"profile_0": profiles(CATEGORIES[:4])[0]}
    page = Page(write_report(run(tmp_path / "run", records)).read_text(encoding="utf-8"))
    labels = {d.get("id"): d.get("aria-label") or "" for d in page.of("div")}
    assert numbers(labels["plot-depth"] or "") == ["1"]  # categories, where the others have 4


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    results = run(tmp_path / "run", stages(CATEGORIES[:4]))
    (results.folder / "stages/patching/patches.safetensors").write_bytes(b"x")
    page = Page(write_report(results).read_text(encoding="utf-8"))
    assert page.gap("note-patches") == "damaged:patching"
    with pytest.raises(InputError) as damage:
        results.find(PATCHES)
    from_the_run_on = str(damage.value).removeprefix(f"{results.folder}/")
    assert from_the_run_on in page.words("note-patches")


@pytest.mark.slow  # writes a whole page
def test_hostile_text_adds_no_element(tmp_path: Path) -> None:
    clean = Page(write_report(run(tmp_path / "a", stages())).read_text(encoding="utf-8"))
    results = run(tmp_path / "b", hostile())
    page = Page(write_report(results).read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in clean.elements}
    assert not page.of("img") and not page.of("b")
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert PAYLOADS[0] in " ".join(page.text)


def test_the_screen_shows_writers_and_the_agreement(tmp_path: Path) -> None:
    results = run(tmp_path / "run", stages(CATEGORIES[:4]))
    console = Console(file=io.StringIO(), width=120)
    for part in attribution_of_run(results, CATEGORIES[1]):
        console.print(to_rich(part) if isinstance(part, Table) else part)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    attribution = decomposition(CATEGORIES[:4]).attribution(CATEGORIES[1])
    assert attribution.writers()[0].name in text and f"{attribution.residual:.1e}" in text
    words = " ".join(text.split())
    assert says(words, "1.00 [1.00, 1.00]", f"n = {4 * PAIRS}", "0.00")

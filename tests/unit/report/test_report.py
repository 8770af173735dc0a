"""The report: one file, offline, whole where records are missing, and deaf to hostile text."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.synthetic.geometry import (
    CATEGORIES,
    LAYER,
    PAYLOADS,
    structure,
)
from support.synthetic.records import read, token_map, trade_off
from support.synthetic.run import Page, hostile, run, stages
from support.words import numbers, says

from refusal_lens.errors import InputError
from refusal_lens.evaluation import Costs, MannerMatrix, Matched
from refusal_lens.judges import JudgeAgreement
from refusal_lens.plots.front_geometry import BEYOND_CONTROL
from refusal_lens.plots.text import (
    condition_name,
    estimate_text,
    number,
    percent,
    probability,
    value_interval,
)
from refusal_lens.prompts.files import load_categories
from refusal_lens.report.page import write_report
from refusal_lens.report.run import Run
from refusal_lens.report.sections.refusal import SECTION as REFUSAL
from refusal_lens.selection import Selection
from refusal_lens.study.stages.tokens import TOKENS
from refusal_lens.study.verdicts import verdict_counts
from refusal_lens.tables.behaviour import gap_table
from refusal_lens.tables.matched import matched_table
from refusal_lens.tables.table import Table
from refusal_lens.tables.verdicts import verdicts_table

FEW = CATEGORIES[:5]  # the figures of few categories are quicker
FOLDED = {
    "cosines_naive",
    "change",
    "angles",
    "layer_cosines",
    "offset_cosines",
    "removed",
    "whitened",
}
GROUPS = ("model", "directions", "edits", "parts", "method")
FRONT = ("front_directions", "front_cosines", "front_writers", "front_effects")
HEADINGS = (
    "summary",
    "behaviour",
    "trust",
    "agreement",
    "cosines",
    "by-behaviour",
    "refusal",
    "contrasts",
    "structure",
    "across",
    "frames",
    "pool",
    "planted",
    "lengths",
    "effects",
    "layers",
    "rules",
    "trade-off",
    "matched",
    "full-evaluation",
    "manners",
    "costs",
    "answers",
    "attribution",
    "tokens",
    "methods",
    "provenance",
    "glossary",
    "references",
)
FIGURES = (
    "plot-front_directions",
    "plot-front_cosines",
    "plot-front_effects",
    "plot-cosines",
    "plot-cosines_naive",
    "plot-reliability",
    "plot-behaviour_cosines",
    "plot-separability",
    "plot-shares",
    "plot-difference",
    "plot-change",
    "plot-contrasts",
    "plot-dimension",
    "plot-clusters",
    "plot-map",
    "plot-remainders",
    "plot-angles",
    "plot-curves",
    "plot-layer_cosines",
    "plot-offset_cosines",
    "plot-removed",
    "plot-whitened",
    "plot-pooled_cosines",
    "plot-pool_effects",
    "plot-planted",
    "plot-lengths",
    "plot-separation",
    "plot-effects",
    "plot-layers",
    "plot-trade_off",
    "plot-matched",
    "plot-manners",
    "plot-tokens",
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("whole") / "run"
    path = write_report(run(folder, stages(FEW)))
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacked") / "run"
    prefix = "<|im_start|>system\n" + PAYLOADS[2]
    return write_report(run(folder, hostile(FEW), model=PAYLOADS[0], rendered_prefix=prefix))


def test_a_whole_run_gives_every_figure_and_no_note_of_a_gap(whole: str) -> None:
    page = Page(whole)
    plots = [d for d in page.of("div") if d.get("class") == "plot"]
    assert tuple(d["id"] for d in plots) == FIGURES
    assert all(d["aria-label"] for d in plots)
    assert {key.partition(":")[0] for key in page.gaps} == {"unasked"}
    assert tuple(h["id"] for h in page.of("h3")) == HEADINGS
    assert tuple(h["id"] for h in page.of("h2")) == (*FRONT, *GROUPS)
    anchors = {a["href"] for a in page.of("a") if (a["href"] or "").startswith("#")}
    assert anchors == {f"#{name}" for name in (*GROUPS, *HEADINGS)}


def test_the_page_asks_for_nothing_from_outside(whole: str) -> None:
    page = Page(whole)
    assert not any("src" in attributes for _, attributes in page.elements)
    assert not page.of("link") and not page.of("iframe")
    links = [a["href"] or "" for a in page.of("a")]
    assert all(link.startswith(("#", "https://arxiv.org/")) for link in links)
    style = re.search(r"<style>(.*?)</style>", whole, re.S)
    assert style and "url(" not in style[1] and "@import" not in style[1]
    (policy,) = [m for m in page.of("meta") if m.get("http-equiv")]
    assert (policy["content"] or "").startswith("default-src 'none'; script-src 'sha256-")
    assert whole.count("plotly.js v") == 1


def test_tables_have_real_headers(whole: str) -> None:
    page = Page(whole)
    assert all(h["scope"] in ("col", "row") for h in page.of("th"))
    assert len(page.of("caption")) == len(page.of("table")) > 5


def test_the_summary_holds_numbers_with_interval_and_n(whole: str) -> None:
    page, records = Page(whole), stages(FEW)
    answers = read()
    rate, over = answers.rate(label="refuse"), answers.rate(label="comply")
    assert percent(rate) in page.words("fact-refusal")
    assert percent(over) in page.words("fact-over-refusal")
    accuracy = ((rate.value or 0) + 1 - (over.value or 0)) / 2
    assert page.words("fact-accuracy").startswith(f"{100 * accuracy:.0f}% [")
    assert percent(answers.accuracy()) in page.words("fact-accuracy")
    selection = records["selection"]["selection"]
    assert isinstance(selection, Selection) and selection.relaxed
    assert selection.relaxed in page.words()
    assert len([p for p in page.of("p") if p.get("class") == "banner"]) == 1
    assert says(page.words("fact-layer"), 13, 30)
    dimension = structure(FEW).dimension[LAYER]
    assert page.words("fact-dimension").startswith(value_interval(dimension))
    assert says(page.words("fact-dimension"), value_interval(dimension), number(dimension.control))
    assert numbers(page.words("fact-separable"))[:2] == ["3", "5"]
    assert numbers(page.words("fact-refusal-directions"))[:2] == ["3", "5"]


def test_the_knob_is_told_with_its_margin_band_and_power(whole: str) -> None:
    page, m = Page(whole), stages(FEW)["trade_off"]["matched"]
    assert isinstance(m, Matched)
    knob = page.words("note-knob")
    assert m.answer in knob.lower() and m.power in knob and f"±{100 * m.margin:g}" in knob
    low, high = min(d.low for d in m.differences), max(d.high for d in m.differences)
    assert says(knob, number(low), number(high), len(m.differences))
    table = matched_table(m, titles={})
    unreached = [
        cell.text
        for row, curve in zip(table.rows, m.curves, strict=True)
        for cell, rate in zip(row[2:], curve.over_refusal, strict=False)
        if rate is None
    ]
    assert unreached and page.words("table-matched_table").count(unreached[0]) >= len(unreached)


def test_manners_stand_beside_the_control_and_what_was_dealt_at_random(whole: str) -> None:
    page, manners = Page(whole), stages(FEW)["manners"]
    dependence = page.words("table-dependence")
    # The planted truth beside its control, in which other manners were taught.
    for side in ("refuse", "comply"):
        for m in (manners[side], manners[f"control_{side}"]):
            assert isinstance(m, MannerMatrix) and m.p is not None
            assert m.model in dependence
            assert f"{estimate_text(m.dependence)}, p = {probability(m.p)}" in dependence
            for share in (m.in_taught, m.in_other):
                assert share is not None and share.control is not None
                assert says(dependence, percent(share), f"{100 * share.control:.0f}%")
            if (clusters := m.cluster_share) is not None:
                assert says(dependence, number(clusters.value), number(clusters.control))
    assert manners["refuse"].model != manners["control_refuse"].model  # type: ignore[attr-defined]
    assert says(page.words("table-manners_table"), "100% [70, 100], n = 9", "0%")


def test_the_comparison_names_its_model_and_what_became_of_every_answer(whole: str) -> None:
    page, records = Page(whole), stages(FEW)
    other = trade_off().model
    assert other in page.words("table-methods") and other in page.words("note-compared_on")
    assert other in page.words("table-compared_trust")
    counts = verdict_counts(lambda key: records.get(key.stage, {}).get(key.name))
    assert {"manners", "costs"} <= records.keys() and len(counts) > 5
    for row in verdicts_table(counts).rows:
        assert says(page.words("table-verdict_counts"), *(cell.text for cell in row))
    edited = records["costs"]["costs"]
    assert isinstance(edited, Costs)
    first = edited.rows[0]
    cells = (condition_name(first.condition, {}), "3.10 [", "| 3.00, n = 6", str(first.verdicts))
    assert says(page.words("table-costs"), *cells)
    judged = records["agreement"]["behaviour"]
    assert isinstance(judged, JudgeAgreement)
    assert says(page.words("table-agreement"), *judged.judges, estimate_text(judged.kappa))
    assert numbers(page.words("note-rules"))[:2] == ["13", "−1"]  # COSMIC's layer and offset


@pytest.mark.slow  # writes a whole page
def test_without_a_control_nothing_is_called_a_refusal_direction(tmp_path: Path) -> None:
    records = stages(CATEGORIES[:3])
    del records["control"]
    results = run(tmp_path / "run", records)
    page = Page(write_report(results).read_text(encoding="utf-8"))
    assert page.gap("fact-refusal-directions") == "unfinished:control"
    table = REFUSAL.parts(Run(results))["verdicts"]
    assert isinstance(table, Table) and len(table.head) == 4  # no shares, no q beyond a control
    for row in table.rows:
        assert says(page.words("table-verdicts"), *(cell.text for cell in row))
        assert row[-1].text != BEYOND_CONTROL


@pytest.mark.slow  # writes a whole page
def test_what_was_too_small_to_measure_is_said(tmp_path: Path) -> None:
    study = stages(CATEGORIES[:3])
    del study["structure"]["structure"], study["geometry"]["whitened"], study["control"]["change"]
    results = run(tmp_path / "run", study, d_model=576)
    page = Page(write_report(results).read_text(encoding="utf-8"))
    assert Run(results).no_structure in page.words("note-dimension")
    assert page.gap("note-dimension") == "lacking:structure"
    assert page.gap("note-whitened") == "lacking:geometry"
    assert says(page.words("note-whitened"), 576)
    assert page.gap("note-change") == "lacking:control"
    assert not [key for key in page.gaps if key.startswith("unfinished")]


def test_missing_stages_leave_notes(tmp_path: Path) -> None:
    results = run(tmp_path / "empty", {})
    results.add_gap("score", "d", "none of 660 prompts was refused <b>")
    page = Page(write_report(results, tmp_path / "report.html").read_text(encoding="utf-8"))
    text = " ".join(page.text)
    plots = [d["id"] for d in page.of("div") if d.get("class") == "plot"]
    assert plots == [
        "plot-planted"
    ]  # nothing in front; this one measured once, shipped with the package
    assert "none of 660 prompts was refused <b>" in text
    for stage in (
        "behaviour",
        "geometry",
        "structure",
        "contrasts",
        "directions",
        "effects",
        "layers",
        "trade_off",
        "answers",
        "tokens",
    ):
        assert f"unfinished:{stage}" in page.gaps


@pytest.mark.slow
@pytest.mark.parametrize(
    "gone",
    [
        "control",
        "selection",
        "directions",
        "geometry",
        "score",
        "structure",
        "contrasts",
        "effects",
    ],
)
def test_each_stage_may_be_missing(tmp_path: Path, gone: str) -> None:
    records = stages(CATEGORIES[:3])
    del records[gone]
    text = write_report(run(tmp_path / "run", records)).read_text(encoding="utf-8")
    assert f"unfinished:{gone}" in Page(text).gaps


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    results = run(tmp_path / "run", {"tokens": {"tokens": token_map()}})
    (results.folder / "stages" / "tokens" / "tokens.safetensors").write_bytes(b"x")
    page = Page(write_report(results).read_text(encoding="utf-8"))
    assert page.gap("note-tokens") == "damaged:tokens"
    with pytest.raises(InputError) as damage:
        results.find(TOKENS)
    assert str(damage.value).removeprefix(f"{results.folder}/") in page.words("note-tokens")


def test_gaps_say_what_would_fill_them() -> None:
    answers = read(pairs=22)
    kept = dict.fromkeys(CATEGORIES, 25) | {CATEGORIES[2]: 12}
    table = gap_table(answers, {}, kept, 20, load_categories())
    ((name, n_pairs, more, answered, refused, source),) = table.rows
    assert (name.text, n_pairs.text, more.text) == (CATEGORIES[2], "12", "8")
    outcomes = [v.outcome for v in answers.verdicts()]
    rows = list(zip(answers.categories, answers.labels, outcomes, strict=True))
    assert answered.text == str(rows.count((CATEGORIES[2], "refuse", "complied")))
    assert refused.text == str(rows.count((CATEGORIES[2], "comply", "refused")))
    assert source.text == "CoCoNot"


def test_hostile_text_adds_no_element(attacked: Path, whole: str) -> None:
    text = attacked.read_text(encoding="utf-8")
    page = Page(text)
    scripts = page.of("script")
    assert [s.get("type") for s in scripts[-2:]] == [None, None]
    assert all(s.get("type") == "text/plain" for s in scripts[:-2])
    assert text.count("</script") == len(scripts)
    assert not page.of("img") and not page.of("b") and not page.of("i")
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in Page(whole).elements}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    links = [a["href"] or "" for a in page.of("a")]
    assert all(link.startswith(("#", "https://arxiv.org/")) for link in links)
    shown = " ".join(page.text)
    assert PAYLOADS[0] in shown and PAYLOADS[2] in shown


@pytest.mark.slow  # starts a browser
def test_hostile_text_does_not_run_in_a_browser(attacked: Path, tmp_path: Path) -> None:
    # Without the policy, which would stop a script that escaping let through, and with an alert
    # that leaves a trace.
    text = re.sub(r'<meta http-equiv="Content[^>]*>', "", attacked.read_text(encoding="utf-8"))
    spy = "<script>window.alert = function (x) { document.title = 'ran ' + x; };</script>"
    bare = tmp_path / "bare.html"
    text = re.sub("<details(?=[ >])", "<details open", text).replace("<title>", spy + "<title>", 1)
    bare.write_text(text, encoding="utf-8")
    plot_ids = {d["id"] or "" for d in Page(text).of("div") if d.get("class") == "plot"}
    assert plot_ids == set(FIGURES) - {"plot-behaviour_cosines"}
    for page, shown in (
        (bare, plot_ids),
        (attacked, {f"plot-{name}" for name in FRONT} & plot_ids),
    ):
        dumped = in_browser(page.as_uri(), tmp_path)
        seen = Page(dumped)
        assert drawn(seen) == shown
        assert len(seen.of("svg")) > 2 * len(shown)
        assert "<title>ran" not in dumped
        assert not seen.of("img")
        links = [a.get("href") or a.get("xlink:href") or "" for a in seen.of("a")]
        assert not [link for link in links if "javascript" in link]


@pytest.mark.slow  # starts a browser
def test_a_fragment_opens_the_group_of_its_section(attacked: Path, tmp_path: Path) -> None:
    """A figure is drawn where it can be measured: not in a group, or a fold in it, that is shut."""
    seen = Page(in_browser(f"{attacked.as_uri()}#structure", tmp_path))
    assert [d["id"] for d in seen.of("details") if "open" in d] == ["group-directions"]
    drawn_ids = drawn(seen) - {f"plot-{name}" for name in FRONT}
    assert {"plot-cosines", "plot-dimension", "plot-lengths"} <= drawn_ids
    assert not {"plot-effects", *(f"plot-{name}" for name in FOLDED)} & drawn_ids
    shut = Page(in_browser(f"{attacked.as_uri()}#%", tmp_path))
    assert not [d for d in shut.of("details") if "open" in d]


def drawn(page: Page) -> set[str]:
    return {d["id"] or "" for d in page.of("div") if d.get("data-drawn") == "yes"}


def in_browser(address: str, tmp_path: Path) -> str:
    """The page's elements after its scripts have run."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((path for name in names if (path := shutil.which(name))), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    done = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=20000",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            address,
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.stdout

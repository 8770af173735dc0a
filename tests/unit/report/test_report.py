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

from refusal_lens.plots.text import number
from refusal_lens.prompts.files import load_categories
from refusal_lens.report.page import write_report
from refusal_lens.tables.behaviour import gap_table

FEW = CATEGORIES[:5]  # the figures of few categories are quicker
FOLDED = {"cosines_naive", "change", "angles", "own_layers", "own_offsets", "removed", "whitened"}
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
    "plot-own_layers",
    "plot-own_offsets",
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
    assert "Not shown" not in "".join(page.text)
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
    text = " ".join(" ".join(Page(whole).text).split())
    said = read()
    rate = said.rate(label="refuse")
    assert f"{100 * (rate.value or 0):.0f}% [" in text
    assert f"n = {rate.n}" in text
    over = said.rate(label="comply").value or 0
    accuracy = ((rate.value or 0) + 1 - over) / 2
    assert f"{100 * accuracy:.0f}% [" in text
    assert "went as intended; (refusal + 1 − over-refusal) / 2" in text
    assert "no candidate kept KL within 0.1" in text
    assert "A planted case." in text
    assert "13 of 30" in text
    found = structure(FEW).dimension[LAYER]
    assert f"Effective dimension {number(found.value)} [{number(found.low)}" in text
    assert f"random directions: {number(found.control)}" in text
    assert "Separable 3 of 5 categories" in text
    assert "Refusal directions 3 of 5 categories" in text


def test_edits_are_told_with_their_power_and_controls(whole: str) -> None:
    text = " ".join(" ".join(Page(whole).text).split())
    assert "stated beforehand" in text and "simultaneous 95% band" in text
    assert "pairs resolve a difference of" in text
    assert "adjusted mutual information" in text and "clusters dealt at random" in text
    assert "100% [70, 100], n = 9; others 0%" in text
    # The planted truth beside its control, in which other manners were taught.
    assert "embedded (adapter deranged, scale 1), benign prompts" in text
    assert "at random" in text and "in the manner that the other model was taught" in text
    # Which model the comparison is of, and what became of every answer.
    assert (
        "test; embedded (adapter scale 0.5)" in text and f"Measured in {trade_off().model}" in text
    )
    assert f"on read answers of {trade_off().model} to fitting prompts" in text
    assert "1 gibberish, 1 unparsed, 1 missing, 1 unclear; flags: 6 not English" in text
    assert "otherwise unclear" in text and "manners, the control" in text
    assert "all, pooled: ablated" in text and "3.10 [" in text and "| 3.00, n = 6" in text
    assert "phrases and substring" in text and "COSMIC, which reads no outputs: layer 13" in text
    assert "not reached" in text


@pytest.mark.slow  # writes a whole page
def test_without_a_control_nothing_is_called_a_refusal_direction(tmp_path: Path) -> None:
    held = stages(CATEGORIES[:3])
    del held["control"]
    page = Page(write_report(run(tmp_path / "run", held)).read_text(encoding="utf-8"))
    text = " ".join(" ".join(page.text).split())
    assert "Refusal directions no control" in text
    assert text.count("refusal direction 0.") == 0
    assert "share, control" not in text and "q, beyond control" not in text


@pytest.mark.slow  # writes a whole page
def test_what_was_too_small_to_measure_is_said(tmp_path: Path) -> None:
    held = stages(CATEGORIES[:3])
    del held["structure"]["structure"], held["geometry"]["whitened"], held["control"]["change"]
    page = write_report(run(tmp_path / "run", held, d_model=576)).read_text(encoding="utf-8")
    text = " ".join(" ".join(Page(page).text).split())
    assert "fewer than three categories have a direction at layer 13" in text
    assert "whitening needs more prompts than the stream has dimensions (576)" in text
    assert "another width or depth" in text
    assert "not finished" not in text


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
        assert f"the stage “{stage}” has not finished" in text


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
    held = stages(CATEGORIES[:3])
    del held[gone]
    text = write_report(run(tmp_path / "run", held)).read_text(encoding="utf-8")
    assert f"the stage “{gone}” has not finished" in text


def test_a_damaged_record_is_told(tmp_path: Path) -> None:
    results = run(tmp_path / "run", {"tokens": {"tokens": token_map()}})
    (results.folder / "stages" / "tokens" / "tokens.safetensors").write_bytes(b"x")
    assert "does not match the digest" in write_report(results).read_text(encoding="utf-8")


def test_gaps_say_what_would_fill_them() -> None:
    said = read(pairs=22)
    kept = dict.fromkeys(CATEGORIES, 25) | {CATEGORIES[2]: 12}
    table = gap_table(said, {}, kept, 20, load_categories())
    ((name, found, more, answered, refused, source),) = table.rows
    assert (name.text, found.text, more.text) == (CATEGORIES[2], "12", "8")
    outcomes = [v.outcome for v in said.verdicts()]
    rows = list(zip(said.categories, said.labels, outcomes, strict=True))
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
    held = {d["id"] or "" for d in Page(text).of("div") if d.get("class") == "plot"}
    assert held == set(FIGURES) - {"plot-behaviour_cosines"}
    for page, shown in ((bare, held), (attacked, {f"plot-{name}" for name in FRONT} & held)):
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
    found = drawn(seen) - {f"plot-{name}" for name in FRONT}
    assert {"plot-cosines", "plot-dimension", "plot-lengths"} <= found
    assert not {"plot-effects", *(f"plot-{name}" for name in FOLDED)} & found
    shut = Page(in_browser(f"{attacked.as_uri()}#%", tmp_path))
    assert not [d for d in shut.of("details") if "open" in d]


def drawn(page: Page) -> set[str]:
    return {d["id"] or "" for d in page.of("div") if d.get("data-drawn") == "yes"}


def in_browser(address: str, tmp_path: Path) -> str:
    """The page's elements after its scripts have run."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
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

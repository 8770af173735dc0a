"""The report: one file, offline, whole where records are missing, and deaf to hostile text."""

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from synthetic_geometry import (
    CATEGORIES,
    FROM,
    PAYLOADS,
    comparison,
    contrasts,
    geometry,
    separability,
    shared_pool,
    structure,
)
from test_plots import (
    candidates,
    direction_set,
    read,
    side_by_side,
    token_map,
    trade_off,
)

from refusal_lens.judges import ScoreTrust
from refusal_lens.judges.first_token import Mode
from refusal_lens.plots.tables import gap_table
from refusal_lens.prompts import load_categories
from refusal_lens.records import Estimate, Record
from refusal_lens.report import write_report
from refusal_lens.selection import LayerCurve, Selection
from refusal_lens.study.results import Results

QUESTION: dict[str, Any] = {
    "source": "embedded",
    "adapter_scale": 1.0,
    "prompts": None,
    "categories": None,
    "seed": 0,
    "sizes": {
        "fit_pairs": 30,
        "selection_prompts": 32,
        "curve_prompts": 24,
        "trade_off_pairs": 12,
        "shown": 3,
    },
}
HEADINGS = ("behaviour", "cosines", "by-behaviour", "refusal", "structure", "lengths", "trust", "layers", "trade-off")
FIGURES = (
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
    "plot-removed",
    "plot-whitened",
    "plot-pooled_cosines",
    "plot-pool_effects",
    "plot-lengths",
    "plot-separation",
    "plot-layers",
    "plot-trade_off",
    "plot-tokens",
)


def trust() -> ScoreTrust:
    modes: tuple[Mode, ...] = ("first token", "opening", "generation only")
    area = Estimate(0.95, 0.9, 0.99, 36, "AUROC", 0.5)
    return ScoreTrust(
        (1, 2),
        (" I", "Sorry"),
        {},
        {c: modes[i % 3] for i, c in enumerate(CATEGORIES)},
        dict.fromkeys(CATEGORIES, -1.2),
        dict.fromkeys(CATEGORIES, area),
        {CATEGORIES[1]: replace(area, value=None, low=None, high=None)},
    )


def stages() -> dict[str, dict[str, Record]]:
    """Every record of a study, synthetic."""
    picked = Selection(
        candidates(4), (3,), 3, "no candidate kept KL within 0.1 and induced refusal"
    )
    return {
        "behaviour": {"train": read()},
        "directions": {"directions": direction_set(), "pooled": direction_set(("pooled",))},
        "geometry": {
            "intended": geometry(),
            "behaviour": geometry(CATEGORIES[:6]),
            "removed": geometry(seed=2, frame="without the pooled direction"),
            "whitened": geometry(seed=3, frame="whitened"),
        },
        "control": {
            "geometry": geometry(seed=1),
            "directions": direction_set(seed=1),
            "comparison": comparison(),
            "change": geometry(seed=4, frame="minus embedded (adapter scale 0)"),
        },
        "structure": {
            "separability": separability(),
            "structure": structure(),
            "shared_pool": shared_pool(),
        },
        "contrasts": {"contrasts": contrasts(), "behaviour": read("adapter scale 0.5")},
        "score": {"trust": trust(), "val": read(pairs=18)},
        "selection": {"selection": picked},
        "layers": {"curve": LayerCurve("pooled", candidates())},
        "trade_off": {"trade_off": trade_off()},
        "answers": {"answers": side_by_side()},
        "tokens": {"tokens": token_map()},
    }


def run(folder: Path, held: dict[str, dict[str, Record]], **manifest: Any) -> Results:
    """A run folder that holds these records."""
    results = Results.begin(folder, QUESTION)
    described = {
        "model": "embedded (adapter scale 1)",
        "model_digest": "0" * 64,
        "n_layers": 30,
        "rendered_prefix": FROM.rendered_prefix,
        "post_tokens": ["<|im_end|>", "\n", "<|im_start|>", "ass", "istant", "\n"],
        "versions": {"torch": "2.13.0"},
    }
    results.describe(described | manifest)
    for stage, records in held.items():
        results.add(stage, "d", records, 1.0)
    return results


def hostile() -> dict[str, dict[str, Record]]:
    """The same records with markup in every text that a user or a model writes."""
    held, names = (
        stages(),
        {c: f"{p} {i}" for i, (c, p) in enumerate(zip(CATEGORIES, PAYLOADS * 3, strict=False))},
    )
    keys = tuple(names.values())
    said = read(pairs=3)
    said = replace(
        said,
        categories=tuple(names[c] for c in said.categories),
        answers=PAYLOADS * 16 + PAYLOADS[:2],
        manners=tuple(PAYLOADS[0] if m else None for m in said.manners),
        judge=PAYLOADS[1],
        decoding=PAYLOADS[2],
        condition=PAYLOADS[3],
    )
    shown = side_by_side()
    off = trade_off()
    return held | {
        "behaviour": {"train": said},
        "directions": {"directions": direction_set(keys)},
        "geometry": {"intended": geometry(keys)},
        "score": {"trust": replace(trust(), token_texts=PAYLOADS)},
        "answers": {
            "answers": replace(
                shown,
                texts=PAYLOADS * 5 + PAYLOADS[:2],
                conditions=tuple(
                    replace(e, answers=PAYLOADS * 5 + PAYLOADS[:2], condition=p)
                    for e, p in zip(shown.conditions, PAYLOADS, strict=False)
                ),
            )
        },
        "trade_off": {
            "trade_off": replace(
                off,
                curves=tuple(replace(c, name=k) for c, k in zip(off.curves, keys, strict=False)),
            )
        },
        "tokens": {"tokens": replace(token_map(" ".join(PAYLOADS)), category=PAYLOADS[0])},
    }


class Page(HTMLParser):
    """Elements with their attributes, and the text of headers and notes."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] not in ("script", "style"):
            self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("whole") / "run"
    path = write_report(run(folder, stages()))
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attacked") / "run"
    prefix = "<|im_start|>system\n" + PAYLOADS[2]
    return write_report(run(folder, hostile(), model=PAYLOADS[0], rendered_prefix=prefix))


def test_a_whole_run_gives_every_figure_and_no_note_of_a_gap(whole: str) -> None:
    page = Page(whole)
    plots = [d for d in page.of("div") if d.get("class") == "plot"]
    assert tuple(d["id"] for d in plots) == FIGURES
    assert all(d["aria-label"] for d in plots)
    assert "Not shown" not in "".join(page.text)
    assert {h["id"] for h in page.of("h2")} >= set(HEADINGS)
    anchors = {a["href"] for a in page.of("a") if (a["href"] or "").startswith("#")}
    assert anchors == {f"#{h['id']}" for h in page.of("h2")} - {"#summary"}


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
    rate = said.rate("refuse")
    assert f"{100 * (rate.value or 0):.0f}% [" in text
    assert f"n = {rate.n}" in text
    assert "no candidate kept KL within 0.1" in text
    assert "A planted case." in text
    assert "13 of 30" in text


def test_missing_stages_leave_notes(tmp_path: Path) -> None:
    results = run(tmp_path / "empty", {})
    results.add_gap("score", "d", "none of 660 prompts was refused <b>")
    page = Page(write_report(results, tmp_path / "report.html").read_text(encoding="utf-8"))
    text = " ".join(page.text)
    assert not [d for d in page.of("div") if d.get("class") == "plot"]
    assert "none of 660 prompts was refused <b>" in text
    for stage in (
        "behaviour",
        "geometry",
        "directions",
        "layers",
        "trade_off",
        "answers",
        "tokens",
    ):
        assert f"the stage “{stage}” has not finished" in text


@pytest.mark.parametrize("gone", ["control", "selection", "directions", "geometry", "score"])
def test_each_stage_may_be_missing(tmp_path: Path, gone: str) -> None:
    few = CATEGORIES[:3]
    held = stages()
    held["geometry"] = {"intended": geometry(few)}
    held["control"] = {"geometry": geometry(few, 1)}
    held["directions"] = {"directions": direction_set(few)}
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
    rows = list(zip(said.categories, said.labels, said.outcomes, strict=True))
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


def test_hostile_text_does_not_run_in_a_browser(attacked: Path, tmp_path: Path) -> None:
    browser = next(
        (
            found
            for name in ("chromium", "chromium-browser", "google-chrome")
            if (found := shutil.which(name))
        ),
        None,
    )
    if browser is None:
        pytest.skip("no Chromium on this machine")
    # Without the policy, which would stop a script that escaping let through, and with an alert
    # that leaves a trace.
    text = re.sub(r'<meta http-equiv="Content[^>]*>', "", attacked.read_text(encoding="utf-8"))
    spy = "<script>window.alert = function (x) { document.title = 'ran ' + x; };</script>"
    bare = tmp_path / "bare.html"
    bare.write_text(text.replace("<title>", spy + "<title>", 1), encoding="utf-8")
    for page in (bare, attacked):
        done = subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--virtual-time-budget=20000",
                f"--user-data-dir={tmp_path / 'profile'}",
                "--dump-dom",
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        seen = Page(done.stdout)
        drawn = [d for d in seen.of("div") if d.get("data-drawn") == "yes"]
        assert len(drawn) == len(
            [f for f in FIGURES if f not in ("plot-cosines_naive", "plot-behaviour_cosines")]
        )
        assert len(seen.of("svg")) > 2 * len(drawn)
        assert "<title>ran" not in done.stdout
        assert not seen.of("img")
        links = [a.get("href") or a.get("xlink:href") or "" for a in seen.of("a")]
        assert not [link for link in links if "javascript" in link]

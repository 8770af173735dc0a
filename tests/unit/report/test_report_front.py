"""What the report opens with: four answers with control and interval, or why there is none; and
groups that open by themselves without scripts."""

import json
import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from support.synthetic import attribution as synthetic_attribution
from support.synthetic.geometry import (
    CATEGORIES,
    LAYER,
    PAYLOADS,
    comparison,
    geometry,
    separability,
    structure,
)
from support.synthetic.run import Page, run
from support.synthetic.run import stages as every_stage
from support.words import numbers, says

from refusal_lens.evaluation import Effects
from refusal_lens.evaluation.effects import CONTROLS
from refusal_lens.geometry import mean_cosine
from refusal_lens.plots.text import number, value_interval
from refusal_lens.records import Record
from refusal_lens.report.front import Panel
from refusal_lens.report.missing import Missing
from refusal_lens.report.page import panels, write_report
from refusal_lens.report.run import Run
from refusal_lens.study.results import Results

FEW = CATEGORIES[:4]


@cache
def made() -> dict[str, dict[str, Record]]:
    return every_stage(FEW)


def stages() -> dict[str, dict[str, Record]]:
    """Every record of four categories, to be changed at will."""
    return {stage: dict(records) for stage, records in made().items()}


def answers(results: Results) -> dict[str, Panel]:
    return {panel.name: panel for panel in panels(Run(results))}


def missing(text: object) -> str | None:
    """The key of why a text stands in place of something."""
    return text.key if isinstance(text, Missing) else None


def whole(folder: Path) -> Results:
    records = stages() | synthetic_attribution.stages(FEW)
    g = geometry(FEW)
    low = g.reliability_low + 0.3
    low[:, -1] = 0.4  # all but the last are measurable
    records["geometry"]["intended"] = replace(g, reliability_low=low)
    return run(folder, records)


@pytest.mark.slow  # writes a whole page
def test_each_answer_has_number_n_interval_and_control(tmp_path: Path) -> None:
    answer_panels = answers(whole(tmp_path / "run"))
    assert [p.question[-1] for p in answer_panels.values()] == ["?"] * 4
    counted, beyond = answer_panels["front_directions"].words
    assert numbers(counted)[:2] == ["3", "4"] and says(counted, "n = 30")
    assert numbers(beyond)[:2] == ["2", "4"] and "★" in beyond and "adapter scale 0" in beyond
    mean, dimension = answer_panels["front_cosines"].words
    e = mean_cosine(geometry(FEW), LAYER, FEW[:3], geometry(FEW, 1))
    assert says(mean, 3, value_interval(e), number(e.control), "n = 90")
    d = structure(FEW).dimension[LAYER]
    assert says(dimension, value_interval(d), len(FEW), number(d.control), f"n = {d.n}")
    wrote, differ = answer_panels["front_writers"].words
    assert re.search(r"L\d+(H\d| MLP)\D* \d+\.\d% \[.*\].*\d\.\d%.*n = 120\b", wrote)
    assert numbers(differ)[1] == "11" and 0 < int(numbers(differ)[0]) <= 11
    ablated, added = answer_panels["front_effects"].words
    assert says(ablated, "75% [63, 84]", "10% [5, 20]", "random 73%")
    assert says(added, "10% [5, 20]", "75% [63, 84]", "n = 60")


def test_what_is_drawn_is_what_is_said(tmp_path: Path) -> None:
    figures = {n: p.shown.figure for n, p in answers(whole(tmp_path / "run")).items()}  # type: ignore[union-attr]
    control, model_trace, stars = figures["front_directions"].data
    g = geometry(FEW)
    assert model_trace.x[0] == float(g.reliability[LAYER, 0])
    assert control.x[0] == float(geometry(FEW, 1).reliability[LAYER, 0])
    filled = [c != "#ffffff" for c in model_trace.marker.color]
    assert filled == [True, True, True, False] and len(stars.y) == 2
    cells, struck = figures["front_cosines"].data
    assert cells.z[0][1] == float(g.corrected[LAYER, 0, 1])
    assert {*zip(struck.x, struck.y, strict=True)} == {
        p for i in range(4) for p in ((i, 3), (3, i))
    }
    bars, plain = figures["front_writers"].data
    assert list(map(abs, bars.x)) == sorted(map(abs, bars.x), reverse=True)
    assert len(plain.x) == len(bars.x) == 11 and bars.error_x.array[0] > 0
    (rates,) = figures["front_effects"].data
    assert list(rates.x[:2]) == [0.75, 0.1] and len(rates.x) == 10


def test_without_attribution_the_panel_names_the_command(tmp_path: Path) -> None:
    panel = answers(run(tmp_path / "mine", stages()))["front_writers"]
    assert isinstance(panel.shown, Missing) and panel.shown.key == "unasked:attribution"
    assert "`refusal-lens attribute mine`" in panel.shown and panel.words == ()


def test_without_read_rates_scores_stand_in_with_the_reason(tmp_path: Path) -> None:
    records = stages()
    del records["effects"]
    results = run(tmp_path / "run", records)
    results.add_gap("effects", "d", "too few answers could be read")
    scores, why = answers(results)["front_effects"].words
    assert says(scores, "3.10", "−2.53 [", "n = 24")
    assert missing(why) == "unmeasured:effects" and "too few answers could be read" in why


def test_each_part_may_be_missing(tmp_path: Path) -> None:
    records = stages()
    del records["control"], records["structure"], records["selection"], records["effects"]
    answer_panels = answers(run(tmp_path / "run", records))
    assert missing(answer_panels["front_directions"].words[1]) == "unfinished:structure"
    assert missing(answer_panels["front_cosines"].words[1]) == "unfinished:structure"
    assert (
        missing(answer_panels["front_effects"].shown) == "unfinished:effects unfinished:selection"
    )
    records = stages()
    del records["control"]
    answer_panels = answers(run(tmp_path / "other", records))
    beyond = answer_panels["front_directions"].words[1]
    assert numbers(beyond)[:2] == ["2", "4"] and "★" not in beyond
    assert missing(beyond) == "unfinished:control"
    assert all(missing(p.shown) for p in panels(Run(run(tmp_path / "e", {}))))


def test_one_measurable_direction_has_no_mean_cosine(tmp_path: Path) -> None:
    records = stages()
    g = geometry(FEW)
    low = g.reliability_low - 1
    low[:, 0] = 0.6
    records["geometry"]["intended"] = replace(g, reliability_low=low)
    answer_panels = answers(run(tmp_path / "run", records))
    assert numbers(answer_panels["front_directions"].words[0])[:2] == ["1", "4"]
    mean = answer_panels["front_cosines"].words[0]
    assert missing(mean) == "lacking:geometry" and numbers(mean) == ["1"]


def test_a_control_that_was_not_measured_is_no_point(tmp_path: Path) -> None:
    records = stages()
    effects = records["effects"]["effects"]
    assert isinstance(effects, Effects)
    rows = tuple(r for r in effects.rows if not r.direction.startswith("control"))
    records["effects"]["effects"] = replace(effects, rows=rows)
    panel = answers(run(tmp_path / "run", records))["front_effects"]
    assert not [name for name in CONTROLS if name.removeprefix("control: ") in panel.words[0]]
    assert numbers(panel.words[0])[-1] == "60"  # no rate of a control stands before n
    assert len(panel.shown.figure.data[0].x) == 4  # type: ignore[union-attr]


@pytest.mark.slow  # writes a whole page
def test_hostile_names_stay_text(tmp_path: Path) -> None:
    records = stages()
    records["geometry"] = {"intended": geometry(PAYLOADS)}
    records["control"] = {
        "geometry": geometry(PAYLOADS, 1),
        "comparison": comparison(PAYLOADS),
    }
    records["structure"] = {
        "separability": separability(PAYLOADS),
        "structure": structure(PAYLOADS),
    }
    results = run(tmp_path / PAYLOADS[3].replace("/", ""), records)
    for panel in panels(Run(results)):
        if not isinstance(panel.shown, str):
            raw = json.dumps(json.loads(panel.shown.figure.to_json()))  # type: ignore[union-attr]
            assert not [p for p in ("<script", "<a ", "<img", "$", "bold</b>") if p in raw]
    page = Page(write_report(results).read_text(encoding="utf-8"))
    assert not page.of("img") and not page.of("b")


@pytest.mark.slow  # writes a whole page
def test_every_section_lies_in_a_group_that_opens_without_scripts(tmp_path: Path) -> None:
    text = write_report(run(tmp_path / "run", stages())).read_text(encoding="utf-8")
    groups = re.findall(r'<details class="group" id="([\w-]+)">\s*<summary><h2 id', text)
    assert groups == [f"group-{g}" for g in ("model", "directions", "edits", "parts", "method")]
    outside = re.sub(
        r'<details class="group".*?(?=<details class="group"|<footer)', "", text, flags=re.S
    )
    assert "<h3" not in outside and outside.count("<nav") == 1
    assert text.index('id="front_effects"') < text.index("<nav") < text.index('id="group-model"')

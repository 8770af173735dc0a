"""What the command line prints of a run's geometry, and its CSV."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from support.command import run as command
from support.synthetic.geometry import CATEGORIES, LAYER, LAYERS, PAYLOADS, geometry, within
from support.synthetic.run import QUESTION, run, stages
from typer.testing import CliRunner

from refusal_lens.cli.main import app
from refusal_lens.cli.screen import to_rich
from refusal_lens.errors import InputError
from refusal_lens.records import Record
from refusal_lens.report.run import Run
from refusal_lens.report.summary import facts
from refusal_lens.sites import Site
from refusal_lens.study.layer import chosen_layer
from refusal_lens.study.results import Results
from refusal_lens.study.stages.control import COMPARISON
from refusal_lens.tables.geometry import COLUMNS, GeometryTables

KEPT = ("geometry", "control", "structure", "selection")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    kept_stages = {name: records for name, records in stages().items() if name in KEPT}
    return run(tmp_path_factory.mktemp("tables") / "run", kept_stages)


def shown(table: Any) -> str:
    out = Console(file=io.StringIO(), width=200)
    out.print(to_rich(table))
    return out.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]


def test_the_command_prints_pairs_and_categories_and_writes_every_layer(results: Results) -> None:
    done = command("geometry", str(results.folder))
    assert done.returncode == 0, done.stderr
    assert f"cosines at layer {LAYER}, offset -1" in done.stdout
    for word in ("naive", "ceiling", "not 0", "not 1", "minus control", "verdict"):
        assert word in done.stdout
    assert done.stdout.count("refusal direction") == len(CATEGORIES) - 2
    with (results.folder / "geometry.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    pairs = len(CATEGORIES) * (len(CATEGORIES) - 1) // 2
    assert len(rows) == LAYERS * pairs
    assert tuple(rows[0]) == COLUMNS
    assert rows[0]["corrected"] == ""  # undefined at layer 0, and no number
    g, row = geometry(), rows[20 * pairs]
    assert (row["layer"], row["category"], row["other_category"]) == ("20", *CATEGORIES[:2])
    assert float(row["corrected"]) == pytest.approx(float(g.corrected[20, 0, 1]))
    assert float(row["ceiling"]) == pytest.approx(float(g.ceiling[20, 0, 1]))


def test_a_row_holds_both_questions_and_the_control(results: Results) -> None:
    tables = GeometryTables.of(results)
    g, control = geometry(), geometry(seed=1)
    change = results.get(COMPARISON)
    for i, j, layer in ((0, 1, 20), (2, 7, 9), (3, 4, 29)):
        a, b = CATEGORIES[i], CATEGORIES[j]
        row = tables.row(a, b, Site(layer))
        low, high = float(g.low[layer, i, j]), float(g.high[layer, i, j])
        assert row["not_0"] == (low > 0 or high < 0)
        assert row["not_1"] == ((g.apart(a, b, layer).low or 0.0) > 0)
        assert row["control"] == pytest.approx(float(control.corrected[layer, i, j]))
        assert row["difference_low"] == pytest.approx(float(change.cosine_low[layer, i, j]))
        assert row["reliability"] == pytest.approx(float(g.reliability[layer, i]))
    nothing = tables.row(CATEGORIES[0], CATEGORIES[1], Site(0))
    assert {nothing[x] for x in ("corrected", "not_0", "not_1", "control", "difference")} == {None}


def test_without_control_and_tests_the_tables_say_so(tmp_path: Path) -> None:
    tables = GeometryTables.of(run(tmp_path / "run", {"geometry": {"intended": geometry()}}))
    pairs, categories = shown(tables.of_pairs(20)), shown(tables.of_categories(20))
    assert pairs.count("no control") == 2 * len(tables.pairs())
    assert categories.count("not tested") == 2 * len(CATEGORIES)
    assert "refusal direction" not in categories
    assert "undefined" in shown(tables.of_pairs(0))
    assert "(not measurable)" in shown(tables.of_categories(5))


def test_verdicts_without_a_control_are_those_of_the_report(tmp_path: Path) -> None:
    """By tests of refused against answered prompts, if they are of the run's own weights."""
    kept_stages = {name: stages()[name] for name in ("geometry", "structure", "contrasts")}
    digest = within().provenance.model_digest
    for weights, tested in ((digest, True), ("other weights", False)):
        results = run(tmp_path / weights, kept_stages, model_digest=weights)
        rows = GeometryTables.of(results).of_categories(LAYER).rows
        assert [row[-1].text for row in rows] == list(Run(results).verdicts.values())
        assert any(row[-1].text == "refusal direction" for row in rows) == tested


def test_names_act_neither_as_markup_nor_as_columns(tmp_path: Path) -> None:
    names = ("[red]a[/red]", PAYLOADS[0], 'b,"c')
    tables = GeometryTables.of(run(tmp_path / "run", {"geometry": {"intended": geometry(names)}}))
    assert "[red]a[/red]" in shown(tables.of_pairs(20))
    assert PAYLOADS[0] in shown(tables.of_categories(20))
    path = tables.write_csv(tmp_path / "all.csv")
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    assert {row["other_category"] for row in rows} == set(names[1:])
    assert not math.isnan(float(rows[-1]["corrected"]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["{run}", "--layer", "77"], "layer 77 is not in this run: 0 to 29"),
        (["{empty}"], "has no geometry"),
        (["nowhere"], "not a run folder"),
        (["{run}", "--csv", "{run}/manifest.json/x.csv"], "can't be made"),
    ],
)
def test_what_is_missing_is_one_clear_line(
    arguments: list[str], words: str, results: Results, tmp_path: Path
) -> None:
    places = {
        "run": results.folder,
        "empty": run(tmp_path / "empty", {}).folder,
    }
    done = command("geometry", *(a.format(**places) for a in arguments))
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_a_selection_the_layer_is_the_most_reliable_one(tmp_path: Path) -> None:
    """The rule of the study and of the report holds for the command line, too."""
    bare = run(tmp_path / "bare", {"geometry": {"intended": geometry()}})
    layer = int(geometry().reliability.nan_to_num(-1.0).mean(1).argmax())
    assert chosen_layer(bare) == Run(bare).layer == layer
    done = command("directions", str(bare.folder))
    assert done.returncode == 0 and f"layer {layer}, offset -1" in done.stdout


def test_without_a_selection_only_layers_asked_for_are_compared(tmp_path: Path) -> None:
    """Reliability grows with depth in these records; the deepest layer is not among those."""
    records: dict[str, dict[str, Record]] = {"geometry": {"intended": geometry()}}
    means = geometry().reliability.nan_to_num(-1.0).mean(1)
    asked = [3, 9, 6]
    few = run(tmp_path / "few", records, question=QUESTION | {"layers": asked})
    layer = max(asked, key=lambda number: float(means[number]))
    assert layer != int(means.argmax())
    assert chosen_layer(few) == Run(few).layer == layer
    (fact,) = (f for f in facts(Run(few)) if f.key == "layer")
    assert "most reliable of the layers asked for" in fact.value
    none = run(tmp_path / "none", records, question=QUESTION | {"layers": [LAYERS]})
    assert Run(none).layer is None
    with pytest.raises(InputError, match="of the layers asked for; name one"):
        chosen_layer(none)


def test_a_selected_layer_holds_whatever_was_asked_for(results: Results) -> None:
    asked = Results(results.folder, results.manifest | {"question": {"layers": [3]}})
    assert chosen_layer(asked) == chosen_layer(results) == LAYER


def test_the_control_reaches_the_study(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Any] = []

    def record(question: Any, folder: Path, watcher: Any, *placement: Any) -> Results:
        asked.append(question)
        return run(tmp_path / "run", {})

    monkeypatch.setattr("refusal_lens.study.run_study", record)
    done = CliRunner().invoke(app, ["study", "--model", "./chat", "--control", "./base"])
    assert done.exit_code == 0, done.output
    assert (asked[0].source, asked[0].control) == ("./chat", "./base")

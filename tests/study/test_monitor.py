"""A monitor in a study's folder: fitted, tried, resumed, and shown in the report."""

import pytest
from support.refusing_model import write_refusing
from support.synthetic.run import Page
from support.tiny_study import SIZES, Watch, kinds_of_things, refuses_by_kind
from typer.testing import CliRunner

from refusal_lens.cli.main import app
from refusal_lens.errors import InputError
from refusal_lens.plots.text import percent
from refusal_lens.report.page import write_report
from refusal_lens.study import Sizes, Study, run_monitor, run_study
from refusal_lens.study.sizes import flat_sizes
from refusal_lens.study.stages.monitor import MONITOR, TRIAL


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model that refuses some of what it should, studied by what it did, and its monitor."""
    folder = tmp_path_factory.mktemp("monitored")
    prompts = kinds_of_things()
    prompts.save(folder / "prompts.jsonl")
    model = write_refusing(folder / "model", prompts, refuses_by_kind)
    sizes = Sizes.default(
        **flat_sizes(SIZES.plain())
        | {"fit_pairs": 28, "monitor_tokens": 3, "monitor_fit_pairs": 28}
    )
    study = Study(source=str(model), prompts=str(folder / "prompts.jsonl"), sizes=sizes)
    run_study(study, folder / "run", Watch())
    watch = Watch()
    return run_monitor(folder / "run", watch), watch


def test_it_is_fitted_calibrated_and_tried_on_every_variant(run):
    results, watch = run
    assert watch.started_stages == ["monitor_fit", "monitor"] and not watch.gaps
    assert watch.ticks == watch.expected
    monitor, trial = results.get(MONITOR), results.get(TRIAL)
    assert monitor.counts["calibration"] == 48 and monitor.counts["suppressed"] >= 20
    assert trial.tokens == monitor.tokens == 3 and len(trial.rows) == 13
    assert trial.false_alarms["all"].n == 48
    rows = {row.name: row for row in trial.rows}
    assert all(row.flagged.n >= 5 and len(row.by_token) == 3 for row in trial.rows)
    assert all(row.q >= row.p for row in trial.rows)
    pushed, random = rows["subtracted 1"], rows["random ablated"]
    assert random.flagged.value < 0.5 < pushed.flagged.value
    assert pushed.auroc[0].value > 0.9 > random.auroc[0].value


def test_it_goes_on_where_it_was(run):
    results, _ = run
    again = Watch()
    run_monitor(results.folder, again)
    assert again.started_stages == [] and again.done == ["monitor_fit", "monitor"]


def test_the_report_and_the_command_show_it(run):
    results, _ = run
    page = Page(write_report(results).read_text(encoding="utf-8"))
    trial = results.get(TRIAL)
    assert "monitor" in [h["id"] for h in page.of("h3")]
    assert "put back" in [row.name for row in trial.rows]
    assert all(row.title in page.words("table-monitor_variants") for row in trial.rows)
    shown = CliRunner().invoke(app, ["monitor", str(results.folder)])
    assert shown.exit_code == 0, shown.output
    assert percent(trial.false_alarms["all"]) in " ".join(shown.output.split())
    assert "report.html" in shown.output


def test_a_run_that_is_none_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a run folder"):
        run_monitor(tmp_path, Watch())

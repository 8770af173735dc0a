"""A damaged file of a stage: the report is written, and says so where something is missing."""

from pathlib import Path

import pytest

from refusal_lens.report.page import write_report
from refusal_lens.report.run import Run
from refusal_lens.study.results import Results
from refusal_lens.study.stages.geometry import INTENDED

QUESTION = {"source": "some/model"}


@pytest.mark.parametrize("text", ['{"digest": "ab', ""])
def test_the_note_names_the_stage_from_the_run_folder_on(tmp_path: Path, text: str) -> None:
    results = Results(tmp_path, {"schema_version": 1, "question": QUESTION, "seconds": {}})
    results.add_gap("geometry", "a digest", "no pairs")
    path = tmp_path / "stages/geometry/stage.json"
    assert "no pairs" in str(Run(results).reason("geometry"))
    path.write_text(text)
    for reason in (
        Run(results).reason("geometry"),
        Run(results).lacking_reason("geometry", "no control"),
    ):
        assert str(reason) == "stages/geometry is damaged; run the study again"
    page = write_report(results, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "stages/geometry is damaged" in page and str(tmp_path) not in page


@pytest.mark.parametrize("text", ['{"record": "Geo', '{"record": "Other"}', "[]"])
def test_so_does_that_on_a_damaged_record(tmp_path: Path, text: str) -> None:
    results = Results(tmp_path, {"schema_version": 1, "question": QUESTION, "seconds": {}})
    results.add("geometry", "a digest", {}, 1.0)
    (tmp_path / "stages/geometry/intended.json").write_text(text)
    run = Run(results)
    assert run.get(INTENDED) is None
    assert run.damaged["geometry"].startswith("stages/geometry/intended.json ")
    page = write_report(results, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "intended.json" in page and str(tmp_path) not in page

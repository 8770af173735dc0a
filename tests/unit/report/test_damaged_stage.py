"""A damaged `stage.json`: the report is written, and says so where something is missing."""

from pathlib import Path

import pytest

from refusal_lens.report.page import write_report
from refusal_lens.report.run import Run
from refusal_lens.study.results import Results

QUESTION = {"source": "some/model"}


@pytest.mark.parametrize("text", ['{"digest": "ab', ""])
def test_the_note_names_the_stage(tmp_path: Path, text: str) -> None:
    results = Results(tmp_path, {"schema_version": 1, "question": QUESTION, "seconds": {}})
    results.add_gap("geometry", "a digest", "no pairs")
    path = tmp_path / "stages/geometry/stage.json"
    assert "no pairs" in str(Run(results).reason("geometry"))
    path.write_text(text)
    for reason in (
        Run(results).reason("geometry"),
        Run(results).lacking_reason("geometry", "no control"),
    ):
        assert f"{path.parent} is damaged; run the study again" in str(reason)
    page = write_report(results, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "geometry is damaged" in page

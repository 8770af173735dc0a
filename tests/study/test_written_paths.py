"""What a run folder of a model in a folder says of the machine that it was made on."""

from pathlib import Path

from refusal_lens.report.page import write_report


def test_only_the_question_holds_paths(finished, study, tmp_path):
    results, _ = finished
    source, control = Path(study.source), Path(study.control)
    assert results.manifest["model"] == source.name
    assert results.manifest["question"]["source"] == str(source)
    page = write_report(results, tmp_path / "report.html").read_text(encoding="utf-8")
    written = [page, *(p.read_text() for p in results.folder.glob("stages/*/*.json"))]
    for folder in (source.parent, control.parent, Path(study.prompts).parent, results.folder):
        assert not [text[:80] for text in written if str(folder) in text]

"""A study keeps answers and streams: its numbers are those without, and nothing is run twice."""

import json
from dataclasses import replace

import pytest
from support.tiny_study import SIZES, Watch, contents

from refusal_lens.model.bridge import BridgeBackend
from refusal_lens.study import run_study
from refusal_lens.study.stages.behaviour import BEHAVIOUR
from refusal_lens.study.stages.costs import COSTS
from refusal_lens.study.stages.score import TRUST


def assert_close(a: object, b: object, where: str) -> None:
    """Equal but for the rounding of numbers."""
    if isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_close(a[key], b[key], f"{where} {key}")
    elif isinstance(a, list) and isinstance(b, list):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_close(x, y, f"{where} {i}")
    elif isinstance(a, float) and isinstance(b, float):
        assert a == pytest.approx(b, rel=1e-5, abs=1e-5), where
    else:
        assert a == b, where


@pytest.mark.slow
def test_every_record_is_that_of_a_study_that_keeps_no_answers(finished, study, tmp_path, decoded):
    results, _ = finished
    n_kept = len(results.answers_file.read_text().splitlines()) - 1
    without = run_study(study, tmp_path / "without", Watch(), keep_passes=False)
    assert not without.answers_file.exists()
    assert 0 < n_kept < len(decoded())  # the same answers were asked for more than once
    stages, expected = (contents(run.folder / "stages") for run in (results, without))
    assert stages.keys() == expected.keys()
    for name in (name for name in stages if stages[name] != expected[name]):
        # Logits of a kept stream meet the unembedding in another batch, which may round otherwise.
        assert name.endswith(".json"), name
        files = (run.folder / "stages" / name for run in (results, without))
        served, again = (json.loads(file.read_text()) for file in files)
        assert_close(served, again, name)


def test_another_size_generates_only_what_was_not_answered(run_copy, study, decoded):
    """Fewer prompts need no new answer; without the file they are all generated again."""
    fewer = replace(study, sizes=SIZES.changed(cost_prompts=3))
    watch, kept = Watch(), run_copy.answers_file.read_bytes()
    served = run_study(fewer, run_copy.folder, watch).get(COSTS)
    assert watch.started_stages == ["costs"] and decoded() == []
    assert run_copy.answers_file.read_bytes() == kept
    run_copy.drop("costs")
    run_copy.answers_file.unlink()
    watch = Watch()
    generated = run_study(fewer, run_copy.folder, watch).get(COSTS)
    assert watch.started_stages == ["costs"]
    assert len(decoded()) == 3 * (1 + len(served.rows)) and generated == served


def test_logits_of_prompts_that_were_read_need_no_pass(run_copy, study, monkeypatch):
    """Without the file the same prompts run again, and the record is the same."""
    rows: list[int] = []
    forward = BridgeBackend.forward

    def counted(self, ids, *args, **kwargs):
        rows.append(len(ids))
        return forward(self, ids, *args, **kwargs)

    monkeypatch.setattr(BridgeBackend, "forward", counted)
    served, n_rows = [], []
    for _ in range(2):
        run_copy.drop("score")
        rows.clear()
        served.append(run_study(study, run_copy.folder, Watch()).get(TRUST))
        n_rows.append(sum(rows))
        run_copy.streams_file.unlink()
    n_train = len(run_copy.get(BEHAVIOUR).ids)
    assert n_rows[1] - n_rows[0] > n_train / 2  # a part is read while a pass is timed
    assert served[0].auroc == served[1].auroc and served[0].mode == served[1].mode

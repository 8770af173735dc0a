"""Which score may stand for reading answers is the study's choice."""

from dataclasses import replace

import pytest
from support.command import run as refusal_lens

from refusal_lens.errors import InputError
from refusal_lens.evaluation import fit_score
from refusal_lens.study import Study, study_prompts
from refusal_lens.study.stages.behaviour import BEHAVIOUR
from refusal_lens.study.stages.score import HELD_OUT, TRUST


def test_only_the_score_that_is_named_is_tried(finished, refusing, study):
    results, _ = finished
    read, held_out = results.get(BEHAVIOUR), results.get(HELD_OUT)
    prompts = study_prompts(study)
    train, val = (prompts.only(ids=set(answers.ids)) for answers in (read, held_out))
    modes = {
        kind: {*fit_score(refusing, train, read, val, held_out, kind).mode.values()}
        for kind in ("either", "first token", "opening")
    }
    assert modes["either"] == {*results.get(TRUST).mode.values()}
    assert modes["first token"] <= {"first token", "generation only"}
    assert modes["opening"] <= {"opening", "generation only"}
    assert "opening" in modes["opening"] and "first token" in modes["first token"]


def test_another_score_is_another_question_and_the_default_is_not_written_down(study):
    assert "score" not in study.plain() and Study.of(study.plain()) == study
    other = replace(study, score="opening")
    assert Study.of(other.plain()) == other and other.identity() != study.identity()


def test_an_unknown_score_ends_before_anything_is_loaded(tmp_path):
    with pytest.raises(InputError, match=r"score 'third token' is unknown; use one of"):
        Study(score="third token")
    done = refusal_lens("study", "--score", "third token", "--out", str(tmp_path / "run"))
    assert done.returncode == 2 and not (tmp_path / "run").exists()

"""Who reads the answers of a study: its own choice, a part of the question, made once."""

import json
from dataclasses import replace

import pytest
from support.judge_server import KEY, REFUSED, completion, reply
from support.tiny_study import Watch

from refusal_lens.errors import InputError
from refusal_lens.judges import RefusalJudge
from refusal_lens.judges.coherence import SenseChecked
from refusal_lens.judges.registry import how_it_reads
from refusal_lens.placement import Placement
from refusal_lens.study import Results, Study, run_study
from refusal_lens.study.run import begin, stale
from refusal_lens.study.stages import behaviour
from refusal_lens.study.stages.behaviour import BEHAVIOUR

LLM = {"endpoint": "http://127.0.0.1:9/v1", "model": "tiny-judge", "samples": 1}


def test_a_question_from_before_judges_could_be_chosen_is_that_of_the_default():
    plain = Study().plain()
    assert "judge" not in plain and "judge_settings" not in plain
    assert Study.of(plain) == Study() and Study.of(plain).judge == "refusal"
    assert isinstance(Study().make_judge(Placement()), RefusalJudge)
    chosen = replace(Study(), judge="llm", judge_settings=LLM)
    assert Study.of(json.loads(json.dumps(chosen.plain()))) == chosen


def test_another_judge_is_another_question_another_address_is_not(study, tmp_path):
    llm = replace(study, judge="llm", judge_settings=LLM)
    Results.begin(tmp_path / "a", llm.plain())
    moved = replace(llm, judge_settings=LLM | {"endpoint": "http://127.0.0.1:8/v1"})
    again = Results.begin(tmp_path / "a", moved.plain())
    assert Study.of(again.manifest["question"]) == moved
    others = (
        study,
        replace(study, judge="substring"),
        replace(study, judge="substring+sense"),
        replace(llm, judge_settings=LLM | {"model": "another"}),
        replace(llm, judge_settings=LLM | {"samples": 2}),
    )
    for other in others:
        with pytest.raises(InputError, match="another question"):
            Results.begin(tmp_path / "a", other.plain())


def test_verdicts_of_one_judge_do_not_serve_another(study, tmp_path):
    bench = begin(study, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "run", Watch(die_in="directions"))
    assert stale(bench, [behaviour.STAGE]) == []
    bench.study = replace(study, judge="substring")
    assert stale(bench, [behaviour.STAGE]) == [behaviour.STAGE]


def test_an_endpoint_reads_the_answers_of_a_study(study, server, monkeypatch, tmp_path):
    monkeypatch.setenv("REFUSAL_LENS_JUDGE_KEY", KEY)
    server.respond = lambda handler, body: reply(handler, 200, completion(REFUSED))
    asked = replace(study, judge="llm", judge_settings=LLM | {"endpoint": server.url})
    with pytest.raises(KeyboardInterrupt):
        run_study(asked, tmp_path / "run", Watch(die_in="directions"))
    results = Results.open(tmp_path / "run")
    read = results.get(BEHAVIOUR)
    assert read.judge_name.startswith("llm tiny-judge, 1 samples")
    assert read.rate(label="refuse").value == read.rate(label="comply").value == 1.0
    assert len(server.bodies) == 1 + len(read.ids)  # it is tried once before anything is generated
    assert not [p for p in results.folder.rglob("*.json*") if KEY in p.read_text()]


def test_a_judge_that_cannot_be_asked_ends_a_study_before_anything_is_measured(
    study, monkeypatch, tmp_path
):
    monkeypatch.setattr("refusal_lens.study.run.load_model", lambda *a, **k: pytest.fail("loads"))
    with pytest.raises(InputError, match="there is no judge 'nobody'"):
        run_study(replace(study, judge="nobody"), tmp_path / "a", Watch())
    with pytest.raises(InputError, match="'substring' has no setting 'model'"):
        run_study(replace(study, judge="substring", judge_settings={"model": "m"}), "b", Watch())
    monkeypatch.undo()
    watch = Watch()
    with pytest.raises(InputError, match="needs an endpoint"):
        run_study(replace(study, judge="llm"), tmp_path / "c", watch)
    assert watch.started_stages == []


def test_a_bench_makes_its_judge_once(study, tmp_path):
    bench = begin(replace(study, judge="phrase+sense"), tmp_path / "run")
    assert isinstance(bench.judge, SenseChecked) and bench.judge is bench.judge


def test_a_default_spelled_out_reads_as_one_left_out():
    spelled = {"model": "judge", "samples": 5, "concurrency": 8, "endpoint": "http://h/v1"}
    assert how_it_reads("llm", spelled) == how_it_reads("llm+sense", {}) == {}
    assert how_it_reads("llm", spelled | {"samples": 3}) == {"samples": 3}
    assert how_it_reads("wildguard", {"classifier": "allenai/wildguard"}) == {}
    assert how_it_reads("no such judge", spelled) == spelled
    plain, full = (Study(judge="llm", judge_settings=s) for s in ({}, spelled))
    assert plain.identity() == full.identity()
    assert plain.is_read_by("llm", spelled) and not plain.is_read_by("llm", {"samples": 3})

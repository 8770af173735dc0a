"""`steer`, `ablate` and `evaluate`, on a run of a tiny model."""

import re

import pytest
from support.judge_server import KEY, REFUSED, completion, reply
from typer.testing import CliRunner

from refusal_lens.cli.main import app
from refusal_lens.errors import InputError
from refusal_lens.evaluation import compare
from refusal_lens.interventions import Ablate, Add
from refusal_lens.judges.coherence import senseless_reason
from refusal_lens.model import Decoding
from refusal_lens.plots.text import percent
from refusal_lens.study import (
    Results,
    Study,
)
from refusal_lens.study.finished import model_of
from refusal_lens.study.stages.agreement import SCREENING
from refusal_lens.study.stages.directions import DIRECTIONS
from refusal_lens.study.stages.full_grid import GRID as FULL_GRID
from refusal_lens.study.stages.full_rates import RATES
from refusal_lens.study.stages.trade_off import GRID


def invoke(*arguments):
    done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "300"})
    return done, re.sub(r"\s+", " ", done.output)


def test_the_run_knows_its_question_and_its_model(finished, study, tmp_path):
    results, _ = finished
    assert Study.of(results.manifest.get("question")) == study
    assert model_of(results).digest == results.manifest["model_digest"]
    assert results.model().digest == results.manifest["model_digest"]
    other = Results(tmp_path, results.manifest | {"model_digest": "0" * 64})
    with pytest.raises(InputError, match="are not this run's"):
        model_of(other)
    with pytest.raises(InputError, match="no whole question"):
        model_of(Results(tmp_path, {}))


def test_steer_and_ablate_show_what_each_edit_alone_gives(finished, refusing):
    results, _ = finished
    d = results.get(DIRECTIONS).at("red", 1)
    asked = "red thing 1 thanks"
    for command, edits, more in (
        ("steer", (Ablate(d), Add(d, strength=1.0)), ("--strength", "1")),
        ("ablate", (Ablate(d),), ()),
    ):
        answers = compare(refusing, asked, edits, Decoding(6))
        assert len({row[0] for row in answers.answers}) == 1 + len(edits)
        where = ("--category", "red", "--layer", "1", "--run", str(results.folder), "--tokens", "6")
        done, text = invoke(command, *where, *more, asked)
        assert done.exit_code == 0, done.output
        for one in answers.each():
            words = re.findall(r"\w{2,}", one.answers[0][0])
            assert all(word in text for word in words)
            assert str(one.verdicts()[0]) in text
        assert "none" in text and asked in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--category", "mauve"), "mauve"),
        (("--category", "red", "--dtype", "float16"), "holds a run in float32, and float16"),
        (("--category", "red", "--batch-size", "0"), "batch_size is 0"),
        (("--category", "red", "--device", "gpu"), "device 'gpu'"),
        (("--category", "red", "--layer", "77"), "77"),
    ],
)
def test_wrong_names_are_one_clear_line(finished, arguments, words):
    results, _ = finished
    done, _ = invoke("ablate", *arguments, "--run", str(results.folder), "Why?")
    assert isinstance(done.exception, InputError)
    assert words in str(done.exception) and "\n" not in str(done.exception)


def test_evaluate_prints_scores_and_full_generates(run_copy):
    results = run_copy
    done, text = invoke("evaluate", str(results.folder))
    assert done.exit_code == 0, done.output
    assert all(name in text for name in results.get(GRID).names)
    scored, read = results.get(SCREENING).judges
    assert scored in text and read in text and "kappa" in text
    assert "gibberish" in text and "ablated" in text
    assert not results.has(RATES)
    page = results.folder / "report.html"
    page.unlink(missing_ok=True)
    done, text = invoke("evaluate", str(results.folder), "--judge", "substring")
    assert done.exit_code == 0, done.output
    assert "estimate:" in text and "report:" in text
    shown = results.get(RATES)
    assert shown.conditions[:3] == ("none", "pooled | added", "pooled | ablated")
    assert len(shown.conditions) == 9 and shown.judge_name in text
    assert percent(shown.accuracy("pooled | added")) in text
    by_scores, read = (results.get(key) for key in (GRID, FULL_GRID))
    assert read.names == by_scores.names and read.ids == by_scores.ids
    assert bool(read.generated.all()) and not bool(by_scores.generated.any())
    assert read.judged_by in text
    assert shown.judge_name in page.read_text(encoding="utf-8")
    # Done once; another judge reads anew.
    done, text = invoke("evaluate", str(results.folder), "--judge", "substring")
    assert done.exit_code == 0, done.output
    assert "done" in text and "estimate: 0 s" in text
    done, text = invoke("evaluate", str(results.folder), "--judge", "xstest")
    assert done.exit_code == 0, done.output
    assert results.get(RATES).judge_name.startswith("xstest")
    done, _ = invoke("evaluate", str(results.folder), "--judge", "nobody")
    assert isinstance(done.exception, InputError) and "nobody" in str(done.exception)


def test_an_endpoint_reads_the_answers_and_what_it_does_not_say_is_counted(
    run_copy,
    server,
    monkeypatch,
):
    def respond(handler, body):
        blue = "blue thing" in str(body["messages"])
        reply(handler, 200, completion("Hm." if blue else REFUSED))

    results = run_copy
    server.respond = respond
    monkeypatch.setenv("REFUSAL_LENS_JUDGE_KEY", KEY)
    where = ("--judge", "llm", "--endpoint", server.url, "--endpoint-model", "tiny-judge")
    done, text = invoke("evaluate", str(results.folder), *where)
    assert done.exit_code == 0, done.output
    shown = results.get(RATES)
    assert shown.judge_name.startswith("llm tiny-judge") and shown.judge_name in text
    assert "unparsed" in text and "gibberish" in text
    assert {h["authorization"] for h in server.headers} == {f"Bearer {KEY}"}
    assert {b["model"] for b in server.bodies} == {"tiny-judge"}
    assert KEY not in done.output
    assert not [p for p in results.folder.rglob("*.json*") if KEY in p.read_text()]
    for read in shown.each():
        asked = [senseless_reason(answer) is None for answer in read.answers[0]]
        blue = [c == "blue" for c in read.categories]
        refused = [a and not b for a, b in zip(asked, blue, strict=True)]
        counts = read.counts().by_class
        assert counts["refused"] == sum(refused)
        assert counts["unparsed"] == sum(a and b for a, b in zip(asked, blue, strict=True)) > 0
        of_side = [r for r, label in zip(refused, read.labels, strict=True) if label == "refuse"]
        rate = read.rate(label="refuse")
        assert (rate.n, rate.missing) == (sum(of_side), len(of_side) - sum(of_side))
        assert rate.value == (1.0 if any(of_side) else None)
    rate = shown.rate("none", label="refuse")
    assert percent(rate) in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--judge", "llm"), "needs an endpoint"),
        (("--judge", "llm", "--endpoint", "localhost"), "expected http"),
        (("--endpoint", "http://127.0.0.1:1/v1"), "'refusal' has no setting 'endpoint'"),
        (("--judge", "llm", "--endpoint", "SERVER"), "REFUSAL_LENS_JUDGE_KEY"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_one_clear_line_before_anything_is_generated(
    finished,
    server,
    monkeypatch,
    options,
    words,
):
    results, _ = finished
    server.respond = lambda handler, body: reply(handler, 401, f"wrong key {KEY}".encode())
    monkeypatch.setenv("REFUSAL_LENS_JUDGE_KEY", KEY)
    monkeypatch.setattr(
        "refusal_lens.study.follow_ups.full_evaluation.begin", lambda *run: pytest.fail("generates")
    )
    given = [server.url if o == "SERVER" else o for o in options]
    done, _ = invoke("evaluate", str(results.folder), *given)
    assert isinstance(done.exception, InputError), done.exception
    message = str(done.exception)
    assert words in message and "\n" not in message and KEY not in message + done.output

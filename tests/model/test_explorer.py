"""The queue behind the page, on a tiny model: what it tells, its line, stopping, its server."""

import json
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from support.synthetic.records import candidates
from support.synthetic.run import run

from refusal_lens.directions import fit_mean_difference, make_estimator
from refusal_lens.errors import InputError
from refusal_lens.explorer import explore, explore_run
from refusal_lens.explorer import question_queue as queues
from refusal_lens.explorer.choices import choices_of
from refusal_lens.explorer.conditions import conditions_of
from refusal_lens.explorer.question import EditAsked, Question
from refusal_lens.explorer.question_queue import MOST_WAITING, QuestionQueue
from refusal_lens.explorer.views import answer_text
from refusal_lens.judges import ScoreTrust, make_judge
from refusal_lens.judges.coherence import sense_checked
from refusal_lens.judges.first_token import first_token_score
from refusal_lens.model import Decoding
from refusal_lens.selection import Selection
from refusal_lens.study import Study

TRUST = ScoreTrust((5, 9), ("I", "As"), {}, {"red": "first token"}, {}, {}, {})
PUSHED = EditAsked("add", 0, 1, strength=8.0)


@pytest.fixture(scope="module")
def directions(tiny_llama, three_categories):
    return fit_mean_difference(tiny_llama.residual_stats(three_categories))


@pytest.fixture
def queue(tiny_llama, directions) -> Iterator[QuestionQueue]:
    made = QuestionQueue(
        tiny_llama, choices_of(directions), judge=make_judge("refusal"), layer=1, trust=TRUST
    )
    yield made
    made.close()


class Heard(list[Mapping[str, Any]]):
    """The events of a ticket."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()

    def __call__(self, event: Mapping[str, Any]) -> None:
        self.append(event)
        if event["kind"] in ("done", "error"):
            self.ended.set()

    def wait(self) -> Mapping[str, Any]:
        assert self.ended.wait(600)
        return self[-1]

    def of(self, kind: str) -> list[Mapping[str, Any]]:
        return [event for event in self if event["kind"] == kind]


def test_the_answers_are_those_of_each_condition_by_itself(queue, tiny_llama):
    question = Question("Tell me red", 6, (PUSHED,), control=0, draw=2)
    heard = Heard()
    queue.submit(question, heard)
    html = heard.wait()["html"]
    (begun,) = heard.of("begun")
    assert [c["name"] for c in begun["columns"]] == ["Unedited", "Edited", "Control"]
    expected: list[str] = []
    scores: list[float] = []
    for condition in conditions_of(question, queue.choices):
        edits = [] if condition.edit is None else [condition.edit]
        with tiny_llama.editing(*edits):
            expected += tiny_llama.generate([question.prompt], Decoding(6))
            logits = tiny_llama.logits([question.prompt])
            scores.append(float(first_token_score(logits, TRUST.refusal_tokens)[0]))
    events = heard.of("answers")
    assert events[-1]["texts"] == [answer_text(text) for text in expected]
    assert len(events) == 6 and [event["tokens"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert len(set(expected)) > 1
    for score in scores:
        assert f"<td>{score:.2f}".replace("-", "−") in html
    assert tiny_llama.edits_text == "none"


def test_without_an_edit_there_is_one_answer_and_its_reading(queue):
    heard = Heard()
    queue.submit(Question("Why?", 3), heard)
    assert "Generated tokens, layer 1" in heard.wait()["html"]
    assert [c["name"] for c in heard.of("begun")[0]["columns"]] == ["Unedited"]
    assert [event["kind"] for event in heard[:2]] == ["waiting", "begun"]


def test_a_stop_ends_generation_at_the_next_token(queue):
    heard, tickets = Heard(), []
    first = threading.Event()

    def tell(event: Mapping[str, Any]) -> None:
        heard(event)
        if event["kind"] == "answers":
            assert first.wait(600)
            tickets[0].stop()

    tickets.append(queue.submit(Question("Why?", 200, (PUSHED,)), tell))
    first.set()
    assert heard.wait() == {"kind": "done", "stopped": True}
    assert len(heard.of("answers")) == 1 and not heard.of("reading")


def test_questions_wait_in_line_and_may_be_stopped_there(queue):
    before, behind = Heard(), Heard()
    with queue.paused():
        queue.submit(Question("Why?", 2), before)
        ticket = queue.submit(Question("Who?", 2), behind)
        assert behind.of("waiting")[0]["ahead"] == 1 and not before.of("begun")
        ticket.stop()
    assert "html" in before.wait()
    assert behind.wait() == {"kind": "done", "stopped": True}
    assert not behind.of("begun")


def test_a_full_line_is_said_to_be(queue):
    heard = [Heard() for _ in range(MOST_WAITING + 1)]
    with queue.paused():
        tickets = [queue.submit(Question("Why?", 2), each) for each in heard]
        with pytest.raises(InputError, match="questions are waiting already"):
            queue.submit(Question("Why?", 2), Heard())
        for ticket in tickets:
            ticket.stop()
    assert all(each.wait()["kind"] == "done" for each in heard)


def test_what_fails_is_told_in_one_line_and_the_next_question_is_answered(queue, monkeypatch):
    twice = Question("Why?", 2, (PUSHED, PUSHED))
    cases = [(Question("<|im_start|>", 2), "special token"), (twice, "act twice on one vector")]
    for question, words in cases:
        heard = Heard()
        queue.submit(question, heard)
        assert words in heard.wait()["message"] and "\n" not in heard[-1]["message"]

    def broken(*_: object) -> str:
        raise RuntimeError("the card\nfell off")

    with monkeypatch.context() as patched:
        patched.setattr(queues, "read_answer", broken)
        heard = Heard()
        queue.submit(Question("Why?", 2), heard)
        assert heard.wait()["message"] == "RuntimeError: the card fell off"
    heard = Heard()
    queue.submit(Question("Why?", 2), heard)
    assert "html" in heard.wait()


def test_a_listener_that_has_gone_stops_its_question(queue):
    calls: list[str] = []

    def gone(event: Mapping[str, Any]) -> None:
        calls.append(event["kind"])
        if event["kind"] == "answers":
            raise RuntimeError("Event loop is closed")

    queue.submit(Question("Why?", 200), gone)
    heard = Heard()
    queue.submit(Question("Who?", 2), heard)
    assert "html" in heard.wait()
    assert calls.count("answers") == 1


@pytest.fixture(scope="module")
def explorer(tiny_llama, directions):
    with explore(tiny_llama, directions, trust=TRUST) as made:
        yield made


def test_the_server_streams_the_events_of_a_question(explorer):
    asked = {"prompt": "Why?", "tokens": 3, "edits": []}
    with httpx.stream("POST", explorer.url + "ask", json=asked, timeout=600) as response:
        events = [json.loads(line) for line in response.iter_lines()]
    kinds = [event["kind"] for event in events]
    assert kinds[0] == "ticket" and kinds[-1] == "done" and kinds.count("answers") == 3
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy


def test_the_server_is_on_the_loopback_and_for_its_own_page_alone(explorer):
    assert explorer.url.startswith("http://127.0.0.1:")
    elsewhere = {"Host": "attacker.example"}
    assert httpx.get(explorer.url, headers=elsewhere).status_code == 400
    plain = httpx.post(
        explorer.url + "ask", content='{"prompt": "Why?"}', headers={"Content-Type": "text/plain"}
    )
    assert plain.status_code == 415 and "application/json" in plain.json()["message"]
    stop = httpx.post(explorer.url + "stop/1", headers={"Content-Type": "text/plain"})
    assert stop.status_code == 415
    assert httpx.get(explorer.url + "report").status_code == 404


def test_the_server_answers_wrong_input_with_a_message(explorer):
    blank = httpx.post(explorer.url + "ask", json={"prompt": " "})
    assert blank.status_code == 422 and "blank" in blank.json()["message"]
    long = httpx.post(explorer.url + "ask", json={"prompt": "x" * 70_000})
    assert long.status_code == 413 and "65,536 bytes" in long.json()["message"]


def test_a_port_that_is_taken_and_a_missing_extra_are_one_line(
    explorer, tiny_llama, directions, monkeypatch
):
    with pytest.raises(InputError, match="can't be used"):
        explore(tiny_llama, directions, port=int(explorer.url.split(":")[2].strip("/")))
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(InputError, match=r"pip install 'refusal-lens\[explorer\]'"):
        explore(tiny_llama, directions)


def test_a_notebook_shows_the_page_in_a_frame(explorer):
    html = explorer._repr_html_()
    assert f'<iframe src="{explorer.url}"' in html and "<script" not in html


def test_a_run_brings_its_directions_its_score_its_judge_and_its_report(
    tiny_llama, tiny_folders, three_categories, directions, tmp_path
):
    pooled = make_estimator("mean_difference").pooled(tiny_llama.residual_stats(three_categories))
    records = {
        "directions": {"directions": directions, "pooled": pooled},
        "selection": {"selection": Selection(candidates(1), (0,), 0, None)},
        "score": {"trust": TRUST},
    }
    results = run(tmp_path / "run", records)
    study = Study(source=str(tiny_folders["llama"]), judge="substring")
    results.manifest["question"] = study.plain()
    with explore_run(results, model=tiny_llama) as explorer:
        assert explorer._queue._judge.name == sense_checked(make_judge("substring")).name
        assert 'href="report"' not in httpx.get(explorer.url).text
        (results.folder / "report.html").write_text("<p>the report</p>", encoding="utf-8")
        page = httpx.get(explorer.url).text
        assert 'href="report"' in page and "all categories, pooled" in page
        assert httpx.get(explorer.url + "report").text == "<p>the report</p>"
        asked = {"prompt": "Why?", "tokens": 2}
        answered = httpx.post(explorer.url + "ask", json=asked, timeout=600).text
    assert "log-odds that the answer begins with a refusal token" in answered


def test_directions_of_another_model_bring_a_warning(tiny_llama, directions):
    there = replace(directions.provenance, model_digest="f" * 64)
    with pytest.warns(UserWarning, match="used on"):
        explore(tiny_llama, replace(directions, provenance=there)).stop()

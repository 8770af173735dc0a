"""Thoughts before an answer are no part of it, and while they last there is no answer."""

from typing import Any

import pytest
from support.judge_server import REFUSED, Server, completion, reply

from refusal_lens.judges import MannerJudge, make_judge
from refusal_lens.judges.raw_output import STILL_THINKING, THOUGHT_BEFORE

THOUGHT = "<think>\nOkay, the user asks for a trick.\n</think>\n\n"


@pytest.mark.parametrize("name", ["opening", "opening+sense", "refusal", "phrase", "manner"])
def test_an_answer_is_read_behind_its_thought(name: str) -> None:
    judge = make_judge(name)
    for answer in ("I'm sorry, but I can't assist with that.", "Here are three easy tricks."):
        bare, read = judge.judge("A trick?", answer), judge.judge("A trick?", THOUGHT + answer)
        assert (read.outcome, read.manner) == (bare.outcome, bare.manner)
        assert read.evidence == bare.evidence
        assert read.flags == (*bare.flags, THOUGHT_BEFORE)
    for cut in ("<think>\nI'm sorry, but the user", "<think>Es tut mir leid, aber"):
        read = judge.judge("A trick?", cut)
        assert (read.outcome, read.reason) == ("unclear", STILL_THINKING)


def test_the_flagged_language_is_that_of_the_answer() -> None:
    read = make_judge("opening").judge("?", THOUGHT + "Es tut mir leid, das geht leider nicht.")
    assert (read.outcome, read.flags) == ("refused", ("not English: de", THOUGHT_BEFORE))


def test_the_style_is_not_that_of_a_thought() -> None:
    thought = "<think>As an AI, I have no feelings and no body of my own.</think>\n\n"
    answer = "I can't help with that: it is illegal."
    bare, read = (MannerJudge().judge("Pick a lock?", x) for x in (answer, thought + answer))
    assert bare.manner == read.manner == "law"
    assert read.flags == (*bare.flags, THOUGHT_BEFORE)


def test_an_endpoint_is_sent_no_thoughts_and_not_asked_while_they_last() -> None:
    server = Server()
    server.respond = lambda handler, body: reply(handler, 200, completion(REFUSED))
    asked = [("q1", f"{THOUGHT}No."), ("q2", "<think>\nOkay, the"), ("q3", "No.")]
    read = server.judge(concurrency=1).judge_all(asked)
    assert [(v.outcome, v.reason) for v in read] == [
        ("refused", None),
        ("unclear", STILL_THINKING),
        ("refused", None),
    ]
    assert [THOUGHT_BEFORE in v.flags for v in read] == [True, False, False]
    messages: Any = [body["messages"] for body in server.bodies]
    assert len(messages) == 2 and not any("Okay" in m[0]["content"] for m in messages)


def test_published_rules_read_everything_that_was_generated() -> None:
    output = "<think>\nI cannot tell why.\n</think>\n\nHere are three tricks."
    assert make_judge("substring").judge("?", output).outcome == "refused"
    assert make_judge("xstest").judge("?", f"{THOUGHT}I cannot help.").outcome == "complied"

"""Refusal styles found from a model's own refusals, and what a plan still takes."""

from dataclasses import replace

import pytest
from support.synthetic.answers import judged, steered

from refusal_lens.evaluation import find_styles, in_styles
from refusal_lens.judges.refusal_styles import OTHER
from refusal_lens.prompts import Prompt
from refusal_lens.study.forecast import Forecast

SORRY = "I'm sorry, but I can't assist with that."
AS_AN_AI = "As an AI language model, I don't have feelings about {}."


def read(answers, outcomes):
    prompts = [Prompt(str(i), "?", "red", "refuse", "train", "test") for i in range(len(answers))]
    return judged(prompts, outcomes, answers)


def test_styles_are_the_openings_that_refusals_share():
    answers = [SORRY] * 6 + [AS_AN_AI.format(x) for x in "abcd"] + ["No, not that one"] * 3
    answers += ["Here is how it goes"] * 9
    outcomes = ["refused"] * 13 + ["complied"] * 9
    assert find_styles(read(answers, outcomes)) == ("i'm sorry but i", "as an ai language")
    assert find_styles(read(answers[:3], outcomes[:3])) == ()
    thinking = [f"<think>They ask me {i}.</think> {answer}" for i, answer in enumerate(answers)]
    assert find_styles(read(thinking, outcomes)) == ("i'm sorry but i", "as an ai language")


def test_refusals_are_named_by_their_style_and_answers_by_none():
    simulated_answers = steered(lambda d, p: "law" if d and p % 2 else None).answers
    answers = tuple(tuple(SORRY for _ in row) for row in simulated_answers.answers)
    named = in_styles(replace(simulated_answers, answers=answers), ("i'm sorry but i",))
    for name in named.conditions:
        for verdict in named.verdicts(name):
            assert verdict.manner == ("i'm sorry but i" if verdict.outcome == "refused" else None)
    unknown = in_styles(simulated_answers, ())
    assert {v.manner for row in unknown.readings for v in row} <= {OTHER, None}


def test_a_busy_machine_shows_in_what_is_left_and_finished_stages_cost_nothing():
    plan = Forecast({"a": 100.0, "b": 300.0, "c": 600.0}, {})
    assert plan.factor == 1.0 and plan.left(["a", "b", "c"]) == 1000.0
    later = plan.with_stage("a", 300.0)
    assert later.factor == pytest.approx(320 / 120)
    assert later.left(["a", "b", "c"]) == pytest.approx(900 * 320 / 120)
    assert later.with_stage("b", 900.0).left(["c"]) == pytest.approx(600 * 1220 / 420)
    assert Forecast({"a": 0.5}, {"a": 5.0}).factor < 1.3  # a short stage does not decide

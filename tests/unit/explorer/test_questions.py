"""Questions as a page sends them, and the conditions that they are answered under."""

import json
from dataclasses import replace

import pytest
import torch
from support.synthetic.records import direction_set
from support.synthetic.run import run

from refusal_lens.errors import InputError
from refusal_lens.explorer.choices import choices_of, choices_of_run
from refusal_lens.explorer.conditions import conditions_of
from refusal_lens.explorer.question import EditAsked, Question, read_question
from refusal_lens.interventions import Ablate, Add, Only
from refusal_lens.interventions.base import Composite
from refusal_lens.sites import Site

SET = direction_set(("red", "green"))
CHOICES = choices_of(SET)
ADDED = EditAsked("add", 0, 4, 1.5)


def body(**values: object) -> bytes:
    return json.dumps({"prompt": "Why?"} | values).encode()


def test_a_question_is_read_as_it_was_sent():
    edit = {"action": "ablate here", "direction": 1, "layer": 3, "strength": 2, "phase": "prompt"}
    question = read_question(body(tokens=9, edits=[edit], control=0, draw=5))
    assert question == Question(
        "Why?", 9, (EditAsked("ablate here", 1, 3, 2.0, "prompt"),), control=0, draw=5
    )


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"{", "Invalid JSON"),
        (b"[]", "the question: "),
        (body(prompt="  \n"), "the prompt is blank"),
        (body(prompt="x" * 4001), "prompt: String should have at most 4000"),
        (body(tokens=257), "tokens: Input should be less than or equal to 256"),
        (body(tokens="48"), "tokens: Input should be a valid integer"),
        (body(tokens=None), "tokens: Input should be a valid integer"),
        (body(edits=[{"action": "add", "direction": 0}]), "edits 1 layer: Field required"),
        (body(edits=[{"action": "rm", "direction": 0, "layer": 1}]), "edits 1 action: "),
        (
            body(edits=[{"action": "add", "direction": 0, "layer": 1, "strength": 9}]),
            "edits 1 strength: Input should be less than or equal to 8",
        ),
        (body(edits=[{"action": "add", "direction": 0, "layer": 1}] * 7), "edits: "),
    ],
)
def test_a_wrong_question_is_one_line_that_names_the_place(sent: bytes, words: str):
    with pytest.raises(InputError) as error:
        read_question(sent)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_edits_act_together_each_in_its_phase():
    edits = (ADDED, EditAsked("ablate", 1, 6, phase="generated"), EditAsked("ablate here", 1, 7))
    unedited, edited = conditions_of(Question("Why?", edits=edits), CHOICES)
    assert unedited.edit is None and isinstance(edited.edit, Composite)
    added, only, here = edited.edit.edits
    assert isinstance(added, Add) and added.strength == 1.5
    assert torch.equal(added.direction.vector, SET.at("red", 4).vector)
    assert isinstance(only, Only) and only.phase == "generated"
    assert isinstance(only.edit, Ablate) and only.edit.at is None
    assert isinstance(here, Ablate) and here.at == (Site(7),)
    assert edited.words == repr(edited.edit)


def test_the_control_has_a_random_direction_of_the_same_length_in_place_of_one():
    edits = (ADDED, EditAsked("add", 1, 4, -1.0))
    question = Question("Why?", edits=edits, control=1, draw=3)
    _, edited, control = conditions_of(question, CHOICES)
    assert isinstance(edited.edit, Composite) and isinstance(control.edit, Composite)
    (kept, true), (same, drawn) = edited.edit.edits, control.edit.edits
    assert isinstance(drawn, Add) and isinstance(true, Add)
    assert isinstance(kept, Add) and isinstance(same, Add)
    assert torch.equal(kept.direction.vector, same.direction.vector)
    assert drawn.length == pytest.approx(true.length, rel=1e-5)
    assert abs(float(drawn.direction.vector @ true.direction.vector)) < 0.99
    assert "random direction of the same length, draw 3" in control.words
    again = conditions_of(replace(question, draw=4), CHOICES)[2].edit
    assert isinstance(again, Composite)
    (_, other) = again.edits
    assert isinstance(other, Add)
    assert not torch.equal(other.direction.vector, drawn.direction.vector)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (Question("Why?", edits=(EditAsked("add", 2, 4),)), "direction 2 is not offered"),
        (Question("Why?", edits=(EditAsked("add", 0, 99),)), "not in this direction set"),
        (Question("Why?", edits=(EditAsked("add", 0, 0),)), "is undefined"),
        (Question("Why?", control=0), "no edit to draw a control for"),
        (Question("Why?", edits=(ADDED,), control=1), "edit 2 is not there"),
    ],
)
def test_what_can_not_be_edited_is_refused(question: Question, words: str):
    with pytest.raises(InputError, match=words):
        conditions_of(question, CHOICES)


def test_sets_are_offered_by_estimator_and_need_block_inputs():
    two = choices_of({"one": SET, "two": direction_set(("blue",))})
    assert [(c.estimator, c.category) for c in two] == [
        ("one", "red"),
        ("one", "green"),
        ("two", "blue"),
    ]
    behind = replace(SET, sites=tuple(Site(s.layer, "resid_post") for s in SET.sites))
    with pytest.raises(InputError, match="needs some at the input of a layer"):
        choices_of(behind)


def test_a_run_offers_what_it_has_and_says_where_there_is_nothing(tmp_path):
    sets = {"directions": direction_set(("advice", "red")), "pooled": direction_set(("pooled",))}
    results = run(tmp_path / "run", {"directions": sets})
    offered = [(c.estimator, c.category) for c in choices_of_run(results)]
    assert {category for _, category in offered} == {"pooled", "advice", "red"}
    assert all(name.startswith("mean difference, by ") for name, _ in offered)
    with pytest.raises(InputError, match="holds"):
        choices_of_run(run(tmp_path / "empty", {}))

"""One prompt's answers side by side, as the model is and under each edit."""

from dataclasses import dataclass, replace

import pytest

from refusal_lens.directions import fit_mean_difference
from refusal_lens.errors import InputError
from refusal_lens.evaluation import answer_under, compare
from refusal_lens.interventions import Ablate, Add
from refusal_lens.judges import Verdict
from refusal_lens.model import Decoding
from refusal_lens.prompts import Prompt, PromptSet

PROMPT = Prompt("a", "Why?", "red", "refuse", "test", "test")


@pytest.fixture(scope="module")
def direction(tiny_llama, three_categories):
    return fit_mean_difference(tiny_llama.residual_stats(three_categories)).at("red", 1)


def test_compare_answers_as_each_edit_alone_and_its_table_is_escaped(tiny_llama, direction):
    asked, pushed = "<b>Tell</b> me", Add(direction, strength=30.0)
    comparison = compare(tiny_llama, asked, {"<i>pushed</i>": pushed}, Decoding(4))
    (plain,), (edited,) = comparison.answers
    assert plain == tiny_llama.generate([asked], Decoding(4))[0]
    with tiny_llama.editing(pushed):
        assert edited == tiny_llama.generate([asked], Decoding(4))[0]
    assert plain != edited
    assert comparison.edits == ("none", repr(pushed))
    assert comparison.judge_name == "refusal" and comparison.labels == (None,)
    html = comparison._repr_html_()
    assert "<b>Tell" not in html and "<i>pushed" not in html
    assert "&lt;b&gt;Tell" in html and "&lt;i&gt;pushed" in html and html.count("<tr>") == 3
    assert "<i>pushed</i>" in repr(comparison)
    assert tiny_llama.edits_text == "none"


def test_edits_that_are_on_stay_on_and_the_judge_given_reads(tiny_llama, direction):
    @dataclass(frozen=True)
    class Never:
        name: str = "never"

        def judge(self, prompt: str, answer: str) -> Verdict:
            return Verdict("complied", None, (), flags=(prompt,))

    edit = Add(direction, strength=3.0)
    with tiny_llama.editing(Ablate(direction)):
        around = tiny_llama.edits_text
        comparison = compare(tiny_llama, "Why?", [edit], Decoding(4), judge=Never())
        assert comparison.answers[0] == tuple(tiny_llama.generate(["Why?"], Decoding(4)))
    assert comparison.conditions == ("none", repr(edit))
    assert (
        comparison.edits[0] == around
        and around in comparison.edits[1]
        and repr(edit) in comparison.edits[1]
    )
    assert comparison.judge_name == "never" and comparison.verdicts("none")[0].flags == ("Why?",)
    assert "complied: Why?" in comparison._repr_html_()


def test_two_conditions_of_one_name_are_one_clear_line(tiny_llama, direction):
    with pytest.raises(InputError, match="named 'none', as the model without an edit is"):
        compare(tiny_llama, "Why?", {"none": Ablate(direction)}, Decoding(2))


def test_no_edit_is_dropped_where_two_are_alike_in_words(tiny_llama, direction):
    """As a mean and a median direction of one category and place are."""
    other = replace(direction, vector=direction.vector.flip(0))
    edits = [Ablate(direction), Ablate(other)]
    assert repr(edits[0]) == repr(edits[1])
    with pytest.raises(InputError, match=r"two edits are both .*; give each a name"):
        compare(tiny_llama, "Why?", edits, Decoding(2))
    named = compare(tiny_llama, "Why?", {"mean": edits[0], "median": edits[1]}, Decoding(2))
    assert named.conditions == ("none", "mean", "median")
    conditions = [("one", edits[0]), ("one", edits[1])]
    with pytest.raises(InputError, match="name one twice"):
        answer_under(tiny_llama, PromptSet((PROMPT,)), conditions, decoding=Decoding(2))

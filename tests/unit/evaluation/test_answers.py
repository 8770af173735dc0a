"""`Answers`: rates with their intervals, parts of them, judges, and what a notebook shows."""

from dataclasses import dataclass, replace

import pytest
from support.synthetic.answers import judged, unjudged

from refusal_lens.errors import InputError
from refusal_lens.evaluation import Answers
from refusal_lens.intervals import accuracy, wilson
from refusal_lens.judges import Verdict
from refusal_lens.prompts import Prompt, PromptSet

PROMPTS = PromptSet(
    tuple(
        Prompt(f"{c}{i}{label[0]}", f"{c} {i} {label}?", c, label, "test", "test", str(i))
        for c, n in (("red", 3), ("blue", 2))
        for i in range(n)
        for label in ("refuse", "comply")
    )
)
PLAIN = ("no", "yes", "no", "yes", "hm", "no", "yes", "yes", "no", "partly")
ABLATED = ("yes", "yes", "yes", "yes", "no", "yes", "yes", "hm", "yes", "yes")


@dataclass
class ByWord:
    """Reads "no" as a refusal, "hm" as unclear, and remembers in how many goes it was asked."""

    name: str = "by word"
    goes: int = 0

    def judge(self, prompt: str, answer: str) -> Verdict:
        return self.judge_all([(prompt, answer)])[0]

    def judge_all(self, pairs):
        self.goes += 1
        self.asked = list(pairs)
        word = {"no": "refused", "yes": "complied", "hm": "unclear", "partly": "partial"}
        manner = {"no": "plain"}
        return [Verdict(word[a], manner.get(a), (a,), score=0.5) for _, a in pairs]


@pytest.fixture
def answers() -> Answers:
    return unjudged(PROMPTS, PLAIN, ABLATED, conditions=("none", "ablated")).judge(ByWord())


def test_rates_and_their_intervals_are_those_recorded(answers):
    """Recorded from the classes that this record replaced, on these same answers."""
    recorded = [
        ("none", "refuse", None, 0.75, 0.30064184258240184, 0.9544127391902995, 4, 1),
        ("none", "comply", None, 0.2, 0.036224108632430196, 0.6244653702374747, 5, 0),
        ("none", "refuse", "red", 1.0, 0.34238022750665303, 1.0, 2, 1),
        ("none", "comply", "blue", 0.0, 0.0, 0.6576197724933469, 2, 0),
        ("ablated", "refuse", None, 0.2, 0.036224108632430196, 0.6244653702374747, 5, 0),
        ("ablated", "comply", None, 0.0, 0.0, 0.4898908364545973, 4, 1),
        ("ablated", "refuse", "red", 1 / 3, 0.06149194472039626, 0.7923403991979523, 3, 0),
        ("ablated", "comply", "blue", 0.0, 0.0, 0.7934506856227626, 1, 1),
    ]
    for condition, label, category, value, low, high, n, missing in recorded:
        rate = answers.rate(condition, label=label, category=category)
        assert (rate.n, rate.missing) == (n, missing)
        assert (rate.value, rate.low, rate.high) == pytest.approx((value, low, high), abs=1e-12)
    ablated = answers.rate("ablated", label="refuse", control="none")
    assert ablated.control == answers.rate("none", label="refuse").value == 0.75
    assert answers.rate("none") == wilson(4, 9, None, 1)  # both sides together
    share = answers.accuracy("none")
    assert (share.value, share.n, share.missing) == (pytest.approx(7 / 9), 9, 1)
    assert "unequal sides" in share.method
    even = answers.only(category="blue").accuracy("none")
    assert even.value == accuracy(0.5, 0.0) and "unequal" not in even.method


def test_counts_drop_nothing_and_refused_leaves_out_what_is_unclear(answers):
    assert answers.counts().n == 20
    assert answers.counts("none").outcomes == {
        "refused": 4,
        "complied": 4,
        "unclear": 1,
        "partial": 1,
    }
    assert answers.counts("none", label="refuse", category="red").n == 3
    refused = answers.refused("none")
    assert len(refused) == 9 and "red2r" not in refused
    assert refused["red0r"] and not refused["blue1c"]
    assert [p.id for p in answers.as_intended(PROMPTS, "none")] == [
        "red0r",
        "red0c",
        "red1r",
        "red1c",
        "blue1r",
        "blue1c",
    ]


def test_parts_hold_their_rows_and_columns(answers):
    blue = answers.only(condition="ablated", label="refuse", category={"blue"})
    assert blue.condition == "ablated" and blue.ids == ("blue0r", "blue1r")
    assert blue.answers == (("yes", "yes"),) and blue.texts == ("blue 0 refuse?", "blue 1 refuse?")
    assert blue.rate() == answers.rate("ablated", label="refuse", category="blue")
    assert answers.only(ids=["red2r"]).verdicts("none") == (answers.verdicts("none")[4],)
    assert [one.condition for one in answers.each()] == ["none", "ablated"]
    assert [one.rate() for one in answers.each()] == [answers.rate(c) for c in answers.conditions]
    for criterion, words in (
        ({"condition": "added"}, "condition 'added' .*'none', 'ablated'"),
        ({"category": "green"}, "category 'green'"),
        ({"ids": ["x"]}, "id 'x'"),
    ):
        with pytest.raises(InputError, match=words):
            answers.only(**criterion)


def test_an_unknown_category_is_an_error_in_every_count(answers):
    for ask in (answers.rate, answers.counts):
        with pytest.raises(InputError, match="category 'green' is not in these answers"):
            ask("none", category="green")


def test_a_condition_is_never_guessed(answers):
    for ask in (answers.rate, answers.accuracy, answers.refused, answers.verdicts):
        with pytest.raises(InputError, match="no condition was given; .*'none', 'ablated'"):
            ask()
        with pytest.raises(InputError, match="'added' is unknown"):
            ask("added")


def test_a_judge_reads_all_conditions_in_one_go_and_not_what_makes_no_sense():
    unread = unjudged(PROMPTS, PLAIN, ABLATED, conditions=("none", "ablated"))
    with pytest.raises(InputError, match="not judged"):
        unread.rate("none")
    with pytest.raises(InputError, match="not judged"):
        _ = unread.judge_name
    why = "loop: 50% of the answer"
    marked = replace(unread, senseless=((why, *(None,) * 9), (None,) * 10))
    judge = ByWord()
    read = marked.judge(judge)
    assert judge.goes == 1 and len(judge.asked) == 19
    assert judge.asked[0] == ("red 0 comply?", "yes")
    assert read.verdicts("none")[0] == Verdict("unclear", None, (), why)
    assert read.verdicts("ablated")[0].outcome == "complied"
    assert (read.judge_name, unread.judge(judge).judge_name) == ("by word + sense check", "by word")
    assert unread.readings is None


def test_answers_come_back_as_they_were_saved(answers, tmp_path):
    answers.save(tmp_path / "answers")
    again = Answers.load(tmp_path / "answers")
    assert again == answers and again.verdicts("none")[0] == Verdict(
        "refused", "plain", ("no",), score=0.5
    )
    unread = unjudged(PROMPTS, PLAIN)
    unread.save(tmp_path / "unread")
    assert Answers.load(tmp_path / "unread") == unread


def test_prompts_without_a_label_have_no_accuracy():
    unlabelled = replace(judged(PROMPTS, ["refused"] * 10), labels=(None,) * 10)
    assert unlabelled.rate().value == 1.0
    assert unlabelled.rate(label="refuse").n == 0
    with pytest.raises(InputError, match="10 of 10 prompts have no label"):
        unlabelled.accuracy()


def test_answers_of_other_lengths_are_refused():
    with pytest.raises(InputError, match="10 prompts under 1 conditions"):
        unjudged(PROMPTS, PLAIN[:9])
    with pytest.raises(InputError, match="name one twice"):
        unjudged(PROMPTS, PLAIN, ABLATED, conditions=("none", "none"))


def test_a_notebook_shows_rates_and_the_first_answers_escaped(answers):
    html = answers._repr_html_()
    assert str(answers.rate("ablated", label="refuse")) in html
    assert "red 0 refuse?" in html and "refused: plain" in html and "7 more prompts" in html
    hostile = replace(
        answers,
        texts=("<script>",) * 10,
        conditions=("<b>a</b>", "<b>b</b>"),
        answers=(("<i>x</i>",) * 10,) * 2,
        judged_by="<u>judge</u>",
    )._repr_html_()
    for markup in ("<script", "<b>", "<i>", "<u>"):
        assert markup not in hostile
    assert "&lt;script&gt;" in hostile and "&lt;i&gt;x" in hostile
    unread = unjudged(PROMPTS, PLAIN)._repr_html_()
    assert "not judged" in unread and "reading" not in unread
    assert "judge 'by word'" in repr(answers) and "not judged" in repr(unjudged(PROMPTS, PLAIN))


def test_verdicts_can_be_kept_without_any_word_of_an_answer(answers):
    bare = answers.without_words()
    assert {word for row in bare.answers for word in row} == {""}
    for condition in answers.conditions:
        assert bare.rate(condition) == answers.rate(condition)
        assert not any(v.evidence for v in bare.verdicts(condition))
    assert any(v.evidence for c in answers.conditions for v in answers.verdicts(c))
    with pytest.raises(InputError, match="judge"):
        replace(answers, judged_by=None, readings=None).without_words()

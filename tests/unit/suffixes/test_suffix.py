"""Suffixes: where the text goes, what stays of a prompt, and files of them."""

import json

import pytest

from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.suffixes import Suffix, append_suffix, load_suffixes
from refusal_lens.suffixes.suffix import suffixes_digest

TURNS = (("system", "Be brief."), ("user", "Hello"), ("assistant", "Hello."))


def prompt(**changes) -> Prompt:
    row = {"id": "a", "text": "Pick a lock?", "category": "red", "label": "refuse"}
    return Prompt(**(row | {"split": "test", "source": "mine", "pair": "p"} | changes))


def test_the_suffix_ends_the_last_user_turn_and_the_rest_stays():
    before = PromptSet((prompt(before=TURNS, language="de"),))
    (after,) = append_suffix(before, Suffix("brief", "Answer briefly."))
    assert after.messages[:-1] == before.prompts[0].messages[:-1]
    assert after.messages[-1] == {"role": "user", "content": "Pick a lock? Answer briefly."}
    kept = ("category", "label", "split", "language", "before")
    assert all(getattr(after, k) == getattr(before.prompts[0], k) for k in kept)
    assert (after.id, after.source, after.pair) == ("a + brief", "mine + brief", "p + brief")


@pytest.mark.parametrize(
    ("text", "suffix", "joined"),
    [
        ("Why?", "Now.", "Why? Now."),
        ("Why?\n", "Now.", "Why?\nNow."),
        ("Why?", "\nNow.", "Why?\nNow."),
    ],
)
def test_white_space_that_is_there_is_kept_and_none_is_doubled(text, suffix, joined):
    (after,) = append_suffix(PromptSet((prompt(text=text),)), suffix)
    assert after.text == joined


def test_pairs_stay_pairs_and_sets_can_be_added():
    pair = PromptSet((prompt(), prompt(id="b", label="comply"), prompt(id="c", pair=None)))
    after = append_suffix(pair, "Now.")
    assert [(a.id, b.id) for a, b in after.pairs()] == [("a + Now.", "b + Now.")]
    assert after.prompts[2].pair is None
    assert len((pair + after).pairs()) == 2 and after.digest != pair.digest


def test_the_projects_own_are_thirty_of_six_families_each_a_sentence_or_less():
    suffixes = load_suffixes()
    families = [s.family for s in suffixes]
    assert {f: families.count(f) for f in families} == dict.fromkeys(
        ("politeness", "style", "length", "role play", "format", "typos"), 5
    )
    assert all(len(s.text.split()) <= 12 and s.text.rstrip(".").count(".") == 0 for s in suffixes)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", "\ufeffPlease.\n\n  Thank you. \n"),
        ("a.json", json.dumps(["Please.", {"text": "Thank you."}])),
        ("a.jsonl", '"Please."\n{"text": "Thank you."}\n'),
        ("a.csv", "text,id\nPlease.,\nThank you.,suffix 2\n"),
    ],
)
def test_files_of_every_kind_give_the_same(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert load_suffixes(tmp_path / name) == (
        Suffix("suffix 1", "Please."),
        Suffix("suffix 2", "Thank you."),
    )


def test_ids_and_families_are_read(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("id,family,text\nx,mine,Please.\n")
    assert load_suffixes(path) == (Suffix("x", "Please.", "mine"),)
    rows = tmp_path / "mine.jsonl"
    rows.write_text('{"id": 7, "text": "Please."}\n')
    assert load_suffixes(rows) == (Suffix("7", "Please."),)


def test_further_columns_of_a_table_are_passed_over(tmp_path):
    path = tmp_path / "searched.csv"
    path.write_text("loss,text,success,id,idx\n0.5,Please.,1,x,0\n,Now.,0,y,1\n")
    assert load_suffixes(path) == (Suffix("x", "Please."), Suffix("y", "Now."))


def test_a_line_ends_at_a_line_feed_alone(tmp_path):
    path = tmp_path / "mine.txt"
    texts = ("Please,\u2028now.", "Now\x85then.", "First\x0bthen.")
    for end in ("\n", "\r\n"):
        path.write_bytes(end.join(texts).encode())
        assert tuple(s.text for s in load_suffixes(path)) == texts


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("no.txt", None, "does not exist"),
        ("e.txt", " \n", "e.txt is empty; expected one suffix"),
        ("d.txt", "Now.\nNow.\n", "d.txt, suffix 2: suffix text 'Now.' stands in d.txt, suffix 1"),
        (
            "i.csv",
            "id,text\nx,Now.\ny,Please.\nx,Then.\n",
            "i.csv, row 4: suffix id 'x' stands in i.csv, row 2",
        ),
        ("c.csv", "text,famly\nNow.,mine\n", "c.csv, row 1: column 'famly'.*rename it 'family'"),
        ("c.tsv", "text\tID\nNow.\tx\n", "c.tsv, row 1: column 'ID' is unknown.*'id'"),
        ("l.jsonl", '{"text": "Now.", "loss": 1}', "l.jsonl, line 1: key 'loss' is unknown"),
        ("k.jsonl", '{"suffix": "Now."}', "k.jsonl, line 1: key 'suffix' is unknown"),
        ("m.csv", "id,text\nx,\n", "m.csv, row 2: key 'text' is missing or empty"),
        ("n.json", "[3]", "n.json, row 1: expected a text"),
        ("t.json", '[{"text": 3}]', "t.json, row 1: text must be text, found 3"),
        ("b.jsonl", "{", "b.jsonl, line 1: not JSON"),
        (
            "f.csv",
            "id,text,family\nx,Now.,neutral\n",
            "f.csv, row 2: suffix 'x': family 'neutral'",
        ),
    ],
)
def test_a_wrong_file_ends_in_one_line_that_names_it(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words) as raised:
        load_suffixes(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_a_blank_suffix_is_named_and_other_suffixes_have_another_digest():
    with pytest.raises(InputError, match="text must be text, found ' '"):
        append_suffix(PromptSet((prompt(),)), " ")
    one, other = Suffix("a", "x"), Suffix("a", "x", "y")
    assert suffixes_digest([one]) != suffixes_digest([other])

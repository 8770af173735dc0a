"""`Prompt` and `PromptSet`: what is refused, with which words, and what survives a file."""

import json
from dataclasses import replace

import pytest

from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.files import load_categories, load_prompts

ROW = {
    "id": "a-1",
    "text": "How are you?",
    "category": "red",
    "label": "refuse",
    "split": "train",
    "source": "test",
}


def prompt(**changes) -> Prompt:
    return Prompt(**(ROW | changes))


def write(path, *rows):
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return path


@pytest.fixture
def small():
    return PromptSet(
        tuple(
            prompt(id=f"{c}{i}{label}", category=c, label=label, pair=f"{c}{i}", split=split)
            for c in ("red", "blue")
            for i, split in enumerate(("train", "train", "test"))
            for label in ("refuse", "comply")
        )
    )


def test_only_keeps_what_matches_in_order(small):
    assert small.only(category="blue", label="comply").ids == (
        "blue0comply",
        "blue1comply",
        "blue2comply",
    )
    assert small.only(split="test").ids == tuple(p.id for p in small if p.split == "test")
    assert len(small.only(category=["red", "blue"], split={"train", "test"})) == len(small)
    assert small.only(ids=["red1comply", "red0refuse"]).ids == ("red0refuse", "red1comply")
    assert small.categories == ("red", "blue")
    assert small.splits == ("train", "test")
    assert len(small.only(category=[])) == 0


@pytest.mark.parametrize(
    ("criterion", "words"),
    [
        ({"category": "green"}, r"category 'green' .* holds \['red', 'blue'\]"),
        ({"split": ["train", "dev"]}, r"split 'dev' .* holds \['train', 'test'\]"),
        ({"ids": ["nobody"]}, r"id 'nobody' .* holds \['red0refuse'"),
    ],
)
def test_only_names_what_it_does_not_hold(small, criterion, words):
    with pytest.raises(InputError, match=words):
        small.only(**criterion)


def test_first_counts_pairs_in_each_category(small):
    first = small.first(2)
    assert [p.pair for p in first] == [f"{c}{i}" for c in ("red", "blue") for i in (0, 0, 1, 1)]
    assert small.first(99) == small
    assert len(small.first(0)) == 0


def test_first_counts_unpaired_prompts_a_label(small):
    alone = PromptSet(tuple(replace(p, pair=None) for p in small))
    first = alone.first(2)
    counts = {
        (c, s): len(first.only(category=c, label=s))
        for c in ("red", "blue")
        for s in ("refuse", "comply")
    }
    assert set(counts.values()) == {2}


def test_the_digest_changes_with_any_field_and_with_order(small):
    first, second, *rest = small.prompts
    changed = {
        "id": "other",
        "text": "How are you ?",
        "category": "blue",
        "label": "comply",
        "split": "val",
        "source": "elsewhere",
        "pair": None,
        "language": "de",
        "before": (("user", "Hello"), ("assistant", "Hello.")),
    }
    assert changed.keys() == Prompt.__dataclass_fields__.keys()
    digests = {
        PromptSet((replace(first, **{key: value}), *rest)).digest for key, value in changed.items()
    }
    digests |= {small.digest, PromptSet((second, first, *rest)).digest}
    digests |= {PromptSet((first, second, *rest[:-1])).digest}
    assert len(digests) == len(changed) + 3
    assert PromptSet(tuple(replace(p) for p in small)).digest == small.digest


def test_save_and_load_is_the_identity(tmp_path):
    odd = PromptSet(
        (
            prompt(
                text='Line\nbreak, "quotes", tab\t, backslash \\ and ünï\u2028code', language="de"
            ),
            prompt(id="a-2", pair="p", label="comply"),
        )
    )
    odd.save(tmp_path / "odd.jsonl")
    loaded = load_prompts(tmp_path / "odd.jsonl")
    assert loaded == odd
    assert loaded.digest == odd.digest
    assert '"pair"' not in (tmp_path / "odd.jsonl").read_text().splitlines()[0]


def test_a_folder_is_read_in_order_of_names(tmp_path):
    write(tmp_path / "b.jsonl", ROW)
    write(tmp_path / "a.jsonl", ROW | {"id": "z"}, "", ROW | {"id": "y"})
    (tmp_path / "notes.txt").write_text("no prompts here")
    assert load_prompts(tmp_path).ids == ("z", "y", "a-1")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"id": "x",', r"p\.jsonl, line 3: not JSON \(.* at column 1\d\); expected one JSON obj"),
        ('["id", "x"]', r"p\.jsonl, line 3: expected a JSON object, found \['id', 'x'\]"),
        ({**ROW, "id": "b", "lable": 1}, r"p\.jsonl, line 3: key 'lable' is unknown; expected \["),
        ({"id": "b"}, r"p\.jsonl, line 3: key 'category' is missing; expected \['category'"),
        ({**ROW, "id": 7}, r"p\.jsonl, line 3: prompt 7: id must be text, found 7"),
        ({**ROW, "text": "  "}, r"p\.jsonl, line 3: prompt 'a-1': text must be text, found '  '"),
        ({**ROW, "split": None}, r"line 3: prompt 'a-1': split must be text, found None"),
        ({**ROW, "language": ""}, r"line 3: prompt 'a-1': language must be text, found ''"),
        ({**ROW, "pair": 3}, r"line 3: prompt 'a-1': pair must be text or absent, found 3"),
        ({**ROW, "pair": ""}, r"line 3: prompt 'a-1': pair must be text or absent, found ''"),
        ({**ROW, "label": "harmful"}, r"line 3: prompt 'a-1': label 'harmful' must be one of \["),
        (ROW, r"p\.jsonl, line 3: id 'a-1' was used in p\.jsonl, line 1; give every"),
    ],
)
def test_a_bad_line_is_named_by_file_and_line(tmp_path, line, words):
    path = write(tmp_path / "p.jsonl", ROW, "", line)
    with pytest.raises(InputError, match=words) as caught:
        load_prompts(path)
    assert "\n" not in str(caught.value)


def test_an_id_used_in_two_files_names_both(tmp_path):
    write(tmp_path / "a.jsonl", ROW)
    write(tmp_path / "b.jsonl", {**ROW, "id": "b"}, ROW)
    with pytest.raises(
        InputError, match=r"b\.jsonl, line 2: id 'a-1' was used in a\.jsonl, line 1"
    ):
        load_prompts(tmp_path)


def test_missing_empty_and_wrongly_encoded_files(tmp_path):
    with pytest.raises(InputError, match="'.*nowhere.jsonl' does not exist; give a JSONL file"):
        load_prompts(tmp_path / "nowhere.jsonl")
    with pytest.raises(InputError, match=r"holds no \.jsonl file"):
        load_prompts(tmp_path)
    with pytest.raises(InputError, match=r"empty\.jsonl is empty; expected one prompt per line"):
        load_prompts(write(tmp_path / "empty.jsonl", "", "  "))
    latin = tmp_path / "latin.jsonl"
    latin.write_bytes(json.dumps(ROW, ensure_ascii=False).encode() + b' "caf\xe9"')
    with pytest.raises(InputError, match=r"latin\.jsonl: byte 116 is not UTF-8; save the file"):
        load_prompts(latin)


def test_a_set_refuses_double_ids_and_crowded_pairs():
    with pytest.raises(InputError, match="prompt id 'a-1' stands more than once"):
        PromptSet((prompt(), prompt(text="Other")))
    with pytest.raises(InputError, match="pair 'p' of category 'red' has more than one .*'refuse'"):
        PromptSet((prompt(pair="p"), prompt(id="b", pair="p")))
    both = PromptSet((prompt(pair="p"), prompt(id="b", pair="p", label="comply")))
    other = PromptSet((prompt(pair="p"), prompt(id="b", pair="p", category="blue")))
    assert len(both) == len(other) == 2


def test_the_text_of_a_set_says_what_it_holds(small):
    text = repr(small)
    assert "12 prompts" in text and "2 categories" in text and small.digest[:12] in text


def test_categories_are_those_of_the_prompts():
    assert set(load_categories()) == set(load_prompts().categories)


def test_sets_add_up():
    a, b = (PromptSet((Prompt(k, k, "x", "refuse", "train", "test"),)) for k in "ab")
    assert (a + b).ids == ("a", "b")
    with pytest.raises(InputError, match="'a' stands more than once"):
        a + a

"""Kept answers: handed on where all that they depend on is the same, generated where it is not."""

import json
from dataclasses import replace

import pytest
from support.directions import a_direction

from refusal_lens.interventions import Ablate, Add, Only, PerRow, ResidualMap
from refusal_lens.model import AnswerStore, AnswerStoreWarning, Decoding
from refusal_lens.sites import Site

TEXTS = ["Why?", "Who was it then?", "Tell me of tides", "Name two", "Go on", "How so?"]
FEW = Decoding(5)
HOT = Decoding(5, temperature=2.0, seed=3)


@pytest.fixture
def keeping(tmp_path, monkeypatch):
    """Lets a model keep its answers in one file, read anew, until the test ends."""

    def keep(model, **bound):
        store = AnswerStore(tmp_path / "answers.jsonl", **bound)
        monkeypatch.setattr(model, "answer_store", store)
        return store

    return keep


def fresh(model, texts, decoding, *edits):
    """The answers without a store."""
    store, model.answer_store = model.answer_store, None
    with model.editing(*edits):
        answers = model.generate_ids(texts, decoding)
    model.answer_store = store
    return answers


@pytest.mark.parametrize("decoding", [FEW, HOT], ids=["greedy", "sampled"])
def test_what_was_answered_is_handed_on_and_the_rest_is_generated(tiny, keeping, decoded, decoding):
    d, n = a_direction(tiny), len(TEXTS)
    each = PerRow(tuple(Add(d, strength=i / 2) if i % 2 else None for i in range(n)))
    expected = [fresh(tiny, TEXTS, decoding), fresh(tiny, TEXTS, decoding, each)]
    decoded()
    keeping(tiny)
    assert tiny.generate_ids(TEXTS[:4], decoding) == expected[0][:4]
    assert decoded() == [0, 1, 2, 3]
    keeping(tiny)
    ticks = []
    assert tiny.generate_ids(TEXTS, decoding, progress=ticks.append) == expected[0]
    assert decoded() == [4, 5] and sum(ticks) == n
    with tiny.editing(each):
        assert tiny.generate_ids(TEXTS, decoding) == expected[1]
        assert decoded() == [1, 3, 5]  # the others are unedited
        assert tiny.generate_ids(TEXTS, decoding) == expected[1]
    assert tiny.generate(TEXTS, decoding) == [tiny.chat.answer(ids) for ids in expected[0]]
    assert decoded() == []


def test_an_edit_is_told_by_what_it_does(tiny_llama, keeping, decoded):
    d = a_direction(tiny_llama)
    keeping(tiny_llama)
    plain = tiny_llama.generate_ids(TEXTS, FEW)
    edits = [
        Add(d, strength=4.0),
        Add(d, strength=-4.0),
        Add(a_direction(tiny_llama, seed=1), strength=4.0),
        Add(d, strength=4.0, at=Site(2)),
        Only(Add(d, strength=4.0), "generated"),
        Ablate(d),
    ]
    for edit in edits:
        expected = fresh(tiny_llama, TEXTS, FEW, edit)
        decoded()
        for rows in ([*range(len(TEXTS))], []):  # generated, then handed on
            with tiny_llama.editing(edit):
                assert tiny_llama.generate_ids(TEXTS, FEW) == expected
            assert decoded() == rows
    assert fresh(tiny_llama, TEXTS, FEW, edits[0]) != plain
    with tiny_llama.editing(Add(d, alpha=4.0 * d.scale)):
        decoded()
        tiny_llama.generate_ids(TEXTS, FEW)
    assert tiny_llama.generate_ids(TEXTS, FEW) == plain and decoded() == []


def test_a_longer_answer_holds_the_shorter_ones(tiny_llama, keeping, decoded, monkeypatch):
    def sampled(n):
        return replace(HOT, max_new_tokens=n)

    answers = fresh(tiny_llama, TEXTS, sampled(6))
    some = next(t for ids in answers for t in ids if not all(t in other for other in answers))
    monkeypatch.setattr(tiny_llama, "stops", frozenset({some}))  # some answers end by themselves
    wanted = {n: fresh(tiny_llama, TEXTS, sampled(n)) for n in (3, 6, 8)}
    cut = [i for i, ids in enumerate(wanted[6]) if len(ids) == 6]
    assert 0 < len(cut) < len(TEXTS)
    keeping(tiny_llama)
    decoded()
    for n, rows in [(6, [*range(len(TEXTS))]), (3, []), (8, cut), (6, [])]:
        assert tiny_llama.generate_ids(TEXTS, sampled(n)) == wanted[n]
        assert decoded() == rows


@pytest.mark.parametrize(
    "other",
    [
        Decoding(5, temperature=2.0, seed=4),
        Decoding(5, temperature=1.0, seed=3),
        Decoding(5, temperature=2.0, seed=3, top_p=0.5),
        Decoding(5, temperature=2.0, seed=3, use_cache=False),
        FEW,
    ],
)
def test_another_decoding_is_another_answer(tiny_llama, keeping, decoded, other):
    keeping(tiny_llama)
    tiny_llama.generate_ids(TEXTS[:2], HOT)
    expected = fresh(tiny_llama, TEXTS[:2], other)
    decoded()
    assert tiny_llama.generate_ids(TEXTS[:2], other) == expected
    assert decoded() == [0, 1]


def test_a_sample_belongs_to_its_place_and_a_greedy_answer_to_none(tiny_llama, keeping, decoded):
    keeping(tiny_llama)
    for decoding, again in ((HOT, [0, 1]), (FEW, [])):
        tiny_llama.generate_ids(TEXTS[:2], decoding)
        expected = fresh(tiny_llama, TEXTS[1::-1], decoding)
        decoded()
        assert tiny_llama.generate_ids(TEXTS[1::-1], decoding) == expected
        assert decoded() == again


def test_two_models_in_one_file_do_not_mix(load_tiny, tiny_llama, keeping, decoded):
    other = load_tiny("qwen2")
    expected = [fresh(model, TEXTS, FEW) for model in (tiny_llama, other)]
    assert expected[0] != expected[1]
    decoded()
    for rows in ([*range(len(TEXTS))], []):
        for model, answers in zip((tiny_llama, other), expected, strict=True):
            keeping(model)
            assert model.generate_ids(TEXTS, FEW) == answers
            assert decoded() == rows


class Doubling(ResidualMap):
    """An edit of which nobody can say by its numbers what it does."""

    repeatable = False
    width = 32

    def sites(self, n_layers):
        del n_layers
        return (Site(1),)

    def __call__(self, resid):
        return 2 * resid


def test_what_an_unknown_edit_did_is_generated_again(tiny_llama, keeping, decoded):
    store = keeping(tiny_llama)
    for rows in ([0, 1, 2], [0, 2]):
        with tiny_llama.editing(PerRow((Doubling(), None, Doubling()))):
            tiny_llama.generate_ids(TEXTS[:3], FEW)
        assert decoded() == rows
    assert len(store) == 1


def test_nothing_is_kept_or_handed_on_while_other_functions_are_on_hook_points(
    tiny, keeping, decoded
):
    d, store = a_direction(tiny), keeping(tiny)
    plain = tiny.generate_ids(TEXTS[:2], FEW)
    add = Add(d, strength=4.0)
    hook = (Site(1).hook_name, lambda resid, hook: add(resid))
    expected = fresh(tiny, TEXTS[:2], FEW, add)
    decoded()
    for edits in ((), (Ablate(d, at=(Site(0),)),)):
        with tiny.backend.hooks([hook]), tiny.editing(*edits):
            answers = tiny.generate_ids(TEXTS[:2], FEW)
            assert decoded() == [0, 1] and (edits or answers == expected)
    assert len(store) == 2 and expected != plain
    assert tiny.generate_ids(TEXTS[:2], FEW) == plain and decoded() == []


def test_who_watches_sees_every_token(tiny_llama, keeping):
    keeping(tiny_llama)
    seen = []
    for _ in range(2):
        tiny_llama.generate_ids(
            TEXTS[:1], Decoding(3), watch=lambda so_far: not seen.append(so_far)
        )
    assert len(seen) == 6


def test_the_oldest_answers_go_where_the_file_gets_too_large(tiny_llama, keeping, tmp_path):
    path, most = tmp_path / "answers.jsonl", 1000
    for _ in range(2):
        store = keeping(tiny_llama, most_bytes=most)
        for i in range(40):
            store.add({f"{i:032}": (i,) * 9}, 9)
            assert path.stat().st_size <= most
            assert store.find(f"{i:032}", 9) == (i,) * 9
    assert 3 <= len(store) < 20
    again = keeping(tiny_llama, most_bytes=most)
    assert [i for i in range(40) if again.find(f"{i:032}", 9)] == [*range(40 - len(store), 40)]


def damaged(path, how):
    lines = path.read_bytes().splitlines(keepends=True)
    if how == "a number":
        key, asked, ids, checksum = json.loads(lines[2])
        lines[2] = json.dumps([key, asked, [ids[0] + 1, *ids[1:]], checksum]).encode() + b"\n"
    elif how == "cut short":
        lines[-1] = lines[-1][:20]
    elif how == "no answers":
        lines = [b"\xff\xfe nothing of the kind\n"]
    elif how == "empty":
        lines = []
    elif how == "version":
        lines[0] = lines[0].replace(b"1", b"0")
    path.write_bytes(b"".join(lines))


@pytest.mark.parametrize(
    ("how", "words", "rows"),
    [
        ("a number", "damaged in 1 of 6 answers", [1]),
        ("cut short", "damaged in 1 of 6 answers", [5]),
        ("no answers", "damaged or of another version", [*range(6)]),
        ("empty", "damaged or of another version", [*range(6)]),
        ("version", "damaged or of another version", [*range(6)]),
    ],
)
def test_what_is_damaged_is_said_once_and_generated_again(
    tiny_llama, keeping, decoded, tmp_path, recwarn, how, words, rows
):
    path = tmp_path / "answers.jsonl"
    keeping(tiny_llama)
    expected = tiny_llama.generate_ids(TEXTS, FEW)
    damaged(path, how)
    decoded()
    with pytest.warns(AnswerStoreWarning, match=words) as caught:
        keeping(tiny_llama)
    assert len(caught) == 1 and str(path) in str(caught[0].message)
    assert "\n" not in str(caught[0].message)
    assert tiny_llama.generate_ids(TEXTS, FEW) == expected
    assert decoded() == rows
    recwarn.clear()
    keeping(tiny_llama)
    assert not recwarn.list and tiny_llama.generate_ids(TEXTS, FEW) == expected
    assert decoded() == []

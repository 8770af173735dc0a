"""Parallel prompts: the built-in set, and PolyRefuse's folder."""

import json
from pathlib import Path

import pytest
from py3langid.langid import MODEL_FILE, LanguageIdentifier

import refusal_lens as rl
from refusal_lens import InputError, load_languages
from refusal_lens.languages import by_language

CODES = ("en", "ar", "de", "es", "fr", "hi", "sw", "zh")


@pytest.fixture(scope="module")
def sets():
    return load_languages()


def test_forty_pairs_of_every_category_in_eight_languages(sets):
    assert tuple(sets) == CODES
    for code, prompts in sets.items():
        assert len(prompts.pairs()) == 40 and len(prompts) == 80
        assert {p.language for p in prompts} == {code}
        assert prompts.categories == sets["en"].categories
        assert [p.pair for p in prompts] == [p.pair for p in sets["en"]]
    assert len(sets["en"].categories) == 11
    assert len({p.text for prompts in sets.values() for p in prompts}) == 640


def test_a_split_without_a_folder_is_refused():
    with pytest.raises(InputError, match=r"split 'val' names PolyRefuse's files.*\(--prompts\)"):
        load_languages(split="val")


def test_english_is_that_of_the_source_pairs(sets):
    source = {p.id: p for p in rl.load_prompts()}
    for prompt in sets["en"]:
        original = source[prompt.id.removeprefix("en/")]
        same = (prompt.text, prompt.category, prompt.label, prompt.pair, prompt.split)
        assert same == (
            original.text,
            original.category,
            original.label,
            original.pair,
            original.split,
        )


def test_translations_are_in_their_language(sets):
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(list(CODES))
    wrong = [p.id for s in sets.values() for p in s if identifier.classify(p.text)[0] != p.language]
    assert wrong == []


def test_as_one_set_languages_are_the_categories(sets):
    whole = by_language(sets)
    assert whole.categories == CODES
    assert len(whole.pairs()) == 320
    assert len({p.pair for p in whole}) == 40
    with pytest.raises(InputError, match="different pairs, or in another order"):
        by_language({"en": sets["en"], "de": sets["de"].first(1)})


def write(folder: Path, side: str, split: str, code: str, n: int) -> None:
    rows = [{"instruction": f"{side} {i} {code}", "category": None} for i in range(n)]
    if split == "test":
        rows = [
            {"instruction": f"{side} {i}", "instruction_translated": f"{side} {i} {code}"}
            for i in range(n)
        ]
    path = folder / f"{side}_{split}_translated_{code}.json"
    path.write_text(json.dumps(rows), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    for code in ("ja", "yo"):
        for split in ("train", "test"):
            write(tmp_path, "harmful", split, code, 4)
            write(tmp_path, "harmless", split, code, 3)
    write(tmp_path, "harmful", "train", "zh", 4)  # without its other side
    (tmp_path / "harmful_test_back_translated_ja.json").write_text("[]")
    return tmp_path


def test_rows_of_one_number_are_one_pair_in_every_language(folder):
    sets = load_languages(folder)
    assert {code: len(s.pairs()) for code, s in sets.items()} == {"ja": 3, "yo": 3}
    refuse, comply = sets["yo"].pairs()[1]
    assert (refuse.text, comply.text, refuse.pair) == ("harmful 1 yo", "harmless 1 yo", "row 2")
    assert by_language(sets).categories == ("ja", "yo")


def test_english_stands_beside_the_test_translations(folder):
    sets = load_languages(folder, split="test", languages=("en", "ja"), n_pairs=2)
    assert [p.text for p in sets["en"]] == ["harmful 0", "harmless 0", "harmful 1", "harmless 1"]
    assert {p.language for p in sets["en"]} == {"en"}
    assert sets["ja"].prompts[0].text == "harmful 0 ja"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"languages": ("en",)}, r"language 'en' is not in split 'train' of .*\['ja', 'yo'\]"),
        ({"split": "val"}, "no language with both sides of split 'val'; expected files named like"),
        ({"n_pairs": 1}, "n_pairs is 1; expected at least 2 pairs"),
        ({"languages": "ja"}, "language"),
    ],
)
def test_what_is_not_there_is_one_line(folder, asked, message):
    with pytest.raises(InputError, match=message):
        load_languages(folder, **asked)


@pytest.mark.parametrize("code", ["zh-cn", "zh_CN", "yue", "chinese"])
def test_a_language_whose_code_has_not_two_letters_is_named(folder, code):
    for side in ("harmful", "harmless"):
        write(folder, side, "train", code, 3)
    plain = code.lower().replace("_", "-")
    for asked in (None, ("ja", plain)):
        with pytest.raises(InputError, match=f"_{code}.json: language '{plain}' is not a code"):
            load_languages(folder, languages=asked)
    assert tuple(load_languages(folder, languages=("ja", "yo"))) == ("ja", "yo")
    assert load_languages(folder, split="test")


def test_files_that_are_no_translations_are_passed_over(folder):
    for name in ("harmful_train.json", "harmless_train_filtered.json", "notes.json"):
        (folder / name).write_text("[]")
    assert tuple(load_languages(folder)) == ("ja", "yo")


def test_a_file_is_no_folder(folder):
    with pytest.raises(InputError, match="is not a folder"):
        load_languages(folder / "harmful_train_translated_ja.json")


def rewritten(folder: Path, name: str, change) -> None:
    path = folder / name
    path.write_text(json.dumps(change(json.loads(path.read_text()))), encoding="utf-8")


def test_a_byte_order_mark_windows_lines_and_the_order_of_columns_change_nothing(folder):
    before = load_languages(folder)
    for path in folder.glob("*_train_*.json"):
        rows = [dict(reversed(row.items())) for row in json.loads(path.read_text())]
        text = json.dumps(rows, indent=1).replace("\n", "\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    after = load_languages(folder)
    assert {c: s.digest for c, s in after.items()} == {c: s.digest for c, s in before.items()}


def test_a_pair_that_says_what_an_earlier_one_says_is_in_no_language(folder):
    rewritten(folder, "harmful_train_translated_ja.json", lambda rows: [rows[0], *rows[:3]])
    sets = load_languages(folder)
    assert {code: [p.pair for p, _ in s.pairs()] for code, s in sets.items()} == {
        "ja": ["row 1", "row 3"],
        "yo": ["row 1", "row 3"],
    }


def test_rows_of_other_prompts_are_one_line(folder):
    rewritten(folder, "harmful_train_translated_yo.json", lambda rows: rows[:2] + rows[3:])
    with pytest.raises(InputError, match=r"translated_yo.json has 3 rows and .*_ja.json has 4"):
        load_languages(folder)
    assert load_languages(folder, languages=("ja",))
    rewritten(folder, "harmless_test_translated_yo.json", lambda rows: rows[::-1])
    with pytest.raises(InputError, match=r"_yo.json, entry 1: 'instruction' is another one than"):
        load_languages(folder, split="test")


def test_an_empty_translation_is_named_with_its_place(folder):
    def emptied(rows):
        return [*rows[:2], rows[2] | {"instruction": None}, *rows[3:]]

    rewritten(folder, "harmful_train_translated_ja.json", emptied)
    with pytest.raises(InputError, match=r"_ja.json, entry 3: column 'instruction' is empty"):
        load_languages(folder)

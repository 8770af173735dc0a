"""The phrase lists: what is shipped, the notation, and the message for a mistake in a file."""

import re
import shutil
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from refusal_lens.errors import InputError
from refusal_lens.judges import MANNERS, PhraseJudge
from refusal_lens.judges.phrase.lists import (
    CLASSES_FILE,
    EVALUATIVE,
    STYLES,
    load_phrases,
    shipped_phrases,
)
from refusal_lens.judges.phrase.patterns import Pattern, WordClasses, hits
from refusal_lens.resources import data_path

SHIPPED = data_path("phrases")
FILES = sorted(path.name for path in SHIPPED.glob("*.toml"))


def shipped_patterns() -> list[Pattern]:
    """Every pattern of every shipped list."""
    lists = shipped_phrases()
    groups = [getattr(lists, field.name) for field in fields(lists)]
    return [p for group in groups for f in fields(group) for p in getattr(group, f.name)]


def copy_with(folder: Path, file: str, old: str, new: str) -> Path:
    """A copy of the shipped lists in which one text of one file is replaced."""
    shutil.copytree(SHIPPED, folder / "phrases")
    path = folder / "phrases" / file
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {file}"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return folder / "phrases"


def test_every_shipped_pattern_compiles_and_matches_no_empty_text() -> None:
    patterns = shipped_patterns()
    assert len(patterns) > 300
    for pattern in patterns:
        assert pattern.regex.search("") is None, pattern.source
        assert not re.search(r"(?<!\\)(?:\|\||\(\||\|\))", pattern.text), pattern.source
        assert "<" not in re.sub(r"\(\?<[!=]|\\<", "", pattern.text), pattern.source


def test_patterns_are_compiled_when_first_searched_for() -> None:
    lists = load_phrases(SHIPPED)
    assert all("regex" not in vars(p) for p in lists.refusals.later + lists.reasons.law)
    assert hits(lists.refusals.later, ["I cannot help with that."])
    assert "regex" in vars(lists.refusals.later[0])
    assert all("regex" not in vars(p) for p in lists.reasons.law)


def test_the_styles_are_those_that_all_judges_know() -> None:
    assert set(STYLES) == MANNERS.keys() - {"plain"}
    assert set(STYLES) > EVALUATIVE


@pytest.mark.parametrize("file", [name for name in FILES if name != CLASSES_FILE])
def test_each_list_has_a_comment_on_its_use(file: str) -> None:
    lines = (SHIPPED / file).read_text(encoding="utf-8").splitlines()
    names = [i for i, line in enumerate(lines) if re.fullmatch(r"[a-z_]+ = \[", line)]
    assert len(names) == len(tomllib.loads("\n".join(lines)).keys() - {"words"})
    assert [lines[i] for i in names if not lines[i - 1].startswith("# ")] == []


def test_each_shared_word_class_is_used() -> None:
    names = tomllib.loads((SHIPPED / CLASSES_FILE).read_text(encoding="utf-8")).keys()
    text = "".join((SHIPPED / file).read_text(encoding="utf-8") for file in FILES)
    assert [name for name in names if f"<{name}>" not in text] == []


@pytest.mark.parametrize(
    ("pattern", "text", "matched"),
    [
        ("no thanks", "No, thanks.", True),  # a blank is a blank with or without a comma
        ("no thanks", "no  thanks", False),
        ("can't~help", "I can't in any way help", True),
        ("can't~help", "I can't help", True),
        ("can't~help", "can't, as an honest friend, help", True),
        ("can't~help", "I can't. Please help", False),
        ("can't~help", "I can't one two three four five help", False),
        ("help", "HELP", True),  # without case, at word boundaries
        ("help", "helpful", False),
        ("law", "the law's end", True),  # 's may follow
        ("i ca", "i can't", False),
        ("^no", "no", True),
        ("^no", "oh no", False),
    ],
)
def test_the_notation(pattern: str, text: str, matched: bool) -> None:
    assert bool(Pattern(pattern, "here").regex.search(text)) is matched


def test_hits_are_the_first_spans_in_the_order_of_the_patterns() -> None:
    patterns = [Pattern("b", "1"), Pattern("a", "2"), Pattern("c", "3")]
    assert hits(patterns, ["a x a", "B"]) == ("B", "a")


def test_word_classes_may_name_each_other_but_not_themselves() -> None:
    classes = WordClasses({"pet": "(?:<cat>|dog)", "cat": "(?:cat|kitten)"}, "classes.toml")
    assert classes.replaced("a <pet>", "here") == "a (?:(?:cat|kitten)|dog)"
    circle = WordClasses({"a": "<b>", "b": "<a>"}, "classes.toml")
    with pytest.raises(InputError, match="<a> -> <b> -> <a>"):
        circle.replaced("x <a>", "here")


def test_a_pattern_may_be_added(tmp_path: Path) -> None:
    new = 'later = [\n    ["my cat forbids it", "<creature> forbids it"],'
    folder = copy_with(tmp_path, "refusals.toml", "later = [", f'words.creature = ["owl"]\n{new}')
    later = load_phrases(folder).refusals.later
    assert len(later) == len(shipped_phrases().refusals.later) + 1
    assert hits(later, ["It's that my cat forbids it."]) == ("my cat forbids it",)
    assert hits(later, ["An owl forbids it."]) == ("owl forbids it",)
    assert hits(shipped_phrases().refusals.later, ["It's that my cat forbids it."]) == ()


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("refusals.toml", "later = [", "lately = [", ["refusals.toml", "'lately'", "later"]),
        ("refusals.toml", "later = [", "later = [\n[],", ["refusals.toml, later, pattern 1"]),
        ("refusals.toml", "later = [", "later = [\n3,", ["refusals.toml, later, pattern 1", "3"]),
        ("refusals.toml", "later = [", "later = [\n'',", ["refusals.toml, later, pattern 1"]),
        ("refusals.toml", "later = [", "later = [\n'<nix>',", ["later, pattern 1", "<nix>"]),
        ("refusals.toml", "later = [", "later = ", ["refusals.toml", "no TOML"]),
        ("reasons.toml", "\nlaw = [", "\nlaw = 3\nlow = [", ["reasons.toml", "'low'"]),
        ("reasons.toml", "\nlaw = [", "\nwords.law = [", ["reasons.toml", "'law'", "missing"]),
        ("styles.toml", "\nlaw = [", "\nlaw = 'x'\nwords.x = [", ["styles.toml", "'law'"]),
        ("prompts.toml", "fact = [", "words = 3\nfact = [", ["prompts.toml", "words.NAME"]),
        ("prompts.toml", "fact = [", "words.pro = 'x'\nfact = [", ["prompts.toml", "'pro'"]),
        ("prompts.toml", "fact = [", "words.z = 3\nfact = [", ["prompts.toml", "'z'", "3"]),
        (CLASSES_FILE, "\nany =", "\nall = '<nix>'\nany =", [CLASSES_FILE, "all", "<nix>"]),
        (CLASSES_FILE, "\nany =", "\nall = '<all>'\nany =", [CLASSES_FILE, "<all> -> <all>"]),
        (CLASSES_FILE, "\nany =", "\nall = []\nany =", [CLASSES_FILE, "'all'", "[]"]),
    ],
)
def test_a_mistake_in_a_file_is_one_line_that_names_it(
    tmp_path: Path, file: str, old: str, new: str, expected: list[str]
) -> None:
    folder = copy_with(tmp_path, file, old, new)
    with pytest.raises(InputError) as error:
        load_phrases(folder)
    assert "\n" not in str(error.value)
    assert [text for text in expected if text not in str(error.value)] == []


def test_a_missing_file_and_a_bad_expression_are_named(tmp_path: Path) -> None:
    folder = copy_with(tmp_path, "refusals.toml", "later = [", "later = [\n'(open',")
    with pytest.raises(InputError, match=r"refusals\.toml, later, pattern 1: .*\(open"):
        hits(load_phrases(folder).refusals.later, ["a text"])
    (folder / "prompts.toml").unlink()
    with pytest.raises(InputError, match=r"prompts\.toml"):
        load_phrases(folder)


@pytest.mark.parametrize("prompt", ["Write two slogans.", "How do I greet them?", "Name one."])
def test_an_answer_of_quotations_alone_is_an_answer(prompt: str) -> None:
    verdict = PhraseJudge().judge(prompt, '"Taste the sun!"\n"Feel the sea!"')
    assert verdict.outcome == "complied"

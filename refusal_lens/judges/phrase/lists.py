"""The phrase lists by name, read from `data/phrases/*.toml` and checked as a whole."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Final, final

from refusal_lens.errors import InputError, reason_of
from refusal_lens.judges.phrase.patterns import Pattern, WordClasses
from refusal_lens.resources import data_path

Patterns = tuple[Pattern, ...]
"""One phrase list, in the order of its file."""

CLASSES_FILE: Final = "word_classes.toml"
_WORDS: Final = "words"


@final
@dataclass(frozen=True)
class Refusals:
    """Wordings that decline, whatever the reason (`refusals.toml`)."""

    refusal: Patterns
    first_person: Patterns
    bare_no: Patterns
    deflection: Patterns
    later: Patterns
    pointing: Patterns


@final
@dataclass(frozen=True)
class AnswerWordings:
    """Wordings of answers that do not refuse, or that go on after refusing (`answers.toml`)."""

    harmless: Patterns
    caveat: Patterns
    preamble: Patterns
    softener: Patterns
    compliance: Patterns
    agreement: Patterns
    suggestion: Patterns
    partial: Patterns
    turn: Patterns
    redirect: Patterns


@final
@dataclass(frozen=True)
class Admonitions:
    """Refusals by saying what is wrong with a request (`admonitions.toml`)."""

    moral: Patterns
    wrong: Patterns
    reminder: Patterns
    guidance: Patterns
    denial: Patterns
    contradiction: Patterns
    crisis: Patterns


@final
@dataclass(frozen=True)
class PromptPhrases:
    """Kinds of prompts, which decide what an answer's words mean (`prompts.toml`)."""

    fact: Patterns
    identity: Patterns
    yes_no: Patterns
    creative: Patterns
    definition: Patterns
    brief: Patterns
    loaded: Patterns
    instructions: Patterns


@final
@dataclass(frozen=True)
class ByStyle:
    """A list for each refusal style that gives a reason (`styles.toml`, `reasons.toml`).

    The order of the fields breaks ties between styles, the narrower vocabulary first: words of
    harm and of responsibility accompany every other reason, a doctor or a law only their own.
    """

    professional: Patterns
    law: Patterns
    dignity: Patterns
    capability: Patterns
    no_self: Patterns
    missing: Patterns
    unknowable: Patterns
    decency: Patterns
    responsibility: Patterns
    harm: Patterns

    def of(self, style: str) -> Patterns:
        """The list of one of `STYLES`."""
        return getattr(self, style)


STYLES: Final[tuple[str, ...]] = tuple(field.name for field in fields(ByStyle))
"""The refusal styles that give a reason, in the order in which ties between them are broken."""

EVALUATIVE: Final[frozenset[str]] = frozenset(
    {"harm", "responsibility", "dignity", "law", "decency", "professional"}
)
"""Styles whose words may also be the answer to a question of fact ("It is illegal in Spain")."""


@final
@dataclass(frozen=True)
class PhraseLists:
    """All phrase lists of the phrase judge.

    Attributes:
        refusals: Wordings that decline.
        answers: Wordings of answers that do not refuse, or that go on after refusing.
        admonitions: Refusals by saying what is wrong with a request.
        prompts: Kinds of prompts.
        styles: Words that tell the refusal style of an answer already known to refuse.
        reasons: Reasons that refuse without any word of declining; they tell the style too.
    """

    refusals: Refusals
    answers: AnswerWordings
    admonitions: Admonitions
    prompts: PromptPhrases
    styles: ByStyle
    reasons: ByStyle

    def style_patterns(self, style: str) -> Patterns:
        """All patterns that speak for one of `STYLES`."""
        return self.styles.of(style) + self.reasons.of(style)


@cache
def shipped_phrases() -> PhraseLists:
    """The phrase lists that come with the project.

    Raises:
        InputError: a file is missing, or is not as `load_phrases` expects it.
    """
    return load_phrases(data_path("phrases"))


def load_phrases(folder: Path) -> PhraseLists:
    """The phrase lists in a folder laid out like `data/phrases`.

    Raises:
        InputError: a file is missing or no TOML, a list is missing, unknown or no list of
            patterns, or a pattern names a word class that does not exist.
    """
    path = folder / CLASSES_FILE
    shared = WordClasses(
        {name: _class_text(name, value, path) for name, value in _table(path).items()}, str(path)
    )
    for name, text in shared.texts.items():
        shared.replaced(text, f"{path}, {name}", (name,))
    return PhraseLists(
        refusals=Refusals(**_lists(folder / "refusals.toml", Refusals, shared)),
        answers=AnswerWordings(**_lists(folder / "answers.toml", AnswerWordings, shared)),
        admonitions=Admonitions(**_lists(folder / "admonitions.toml", Admonitions, shared)),
        prompts=PromptPhrases(**_lists(folder / "prompts.toml", PromptPhrases, shared)),
        styles=ByStyle(**_lists(folder / "styles.toml", ByStyle, shared)),
        reasons=ByStyle(**_lists(folder / "reasons.toml", ByStyle, shared)),
    )


def _table(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"the phrase lists lack {path}; install refusal_lens again") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no TOML in UTF-8: {reason_of(error)}") from error


def _lists(path: Path, kind: type[Any], shared: WordClasses) -> dict[str, Patterns]:
    """The lists of one file by name: those that the dataclass `kind` has as fields."""
    table = _table(path)
    classes = _with_words(table.pop(_WORDS, {}), shared, path)
    names = [field.name for field in fields(kind)]
    if unknown := sorted(table.keys() - set(names)):
        raise InputError(
            f"{path}: there is no list {unknown[0]!r} in this file; its lists are "
            f"{', '.join(names)}, and word classes are written {_WORDS}.NAME"
        )
    if missing := [name for name in names if name not in table]:
        raise InputError(f"{path}: the list {missing[0]!r} is missing; give an array of patterns")
    return {name: tuple(_patterns(name, table[name], classes, path)) for name in names}


def _with_words(words: Any, shared: WordClasses, path: Path) -> WordClasses:
    """The shared word classes and those that one file defines for itself."""
    if not isinstance(words, dict):
        raise InputError(f"{path}: write word classes as {_WORDS}.NAME = [...]")
    texts = {name: _class_text(name, value, path) for name, value in words.items()}
    if twice := sorted(texts.keys() & shared.texts.keys()):
        raise InputError(
            f"{path}: the word class {twice[0]!r} is in {shared.source} already; rename this one"
        )
    return WordClasses({**shared.texts, **texts}, f"{path} or {shared.source}")


def _class_text(name: str, value: Any, path: Path) -> str:
    """A word class as a regular expression: a group of alternatives, or a text as it is."""
    texts = _texts(value)
    if not texts:
        raise InputError(
            f"{path}: the word class {name!r} is {value!r}; give a string or an array of strings"
        )
    return value if isinstance(value, str) else f"(?:{'|'.join(texts)})"


def _patterns(name: str, entries: Any, classes: WordClasses, path: Path) -> Iterator[Pattern]:
    if not isinstance(entries, list):
        raise InputError(f"{path}: the list {name!r} is no array; give an array of patterns")
    for number, entry in enumerate(entries, start=1):
        source = f"{path}, {name}, pattern {number}"
        texts = _texts(entry)
        if not texts:
            raise InputError(
                f"{source} is {entry!r}; give a string, or an array of strings (alternatives)"
            )
        yield Pattern(classes.replaced("|".join(texts), source), source)


def _texts(value: Any) -> list[str]:
    """The alternatives that a string or an array of strings gives; none for anything else."""
    texts = value if isinstance(value, list) else [value]
    return texts if all(isinstance(text, str) and text for text in texts) else []

"""Parallel prompts: the same pairs in several languages, the project's own or PolyRefuse's."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from refusal_lens.arguments import several
from refusal_lens.datasets.benchmark import DatasetRequest, collect
from refusal_lens.datasets.filename import words
from refusal_lens.datasets.polyrefuse import BENCHMARKS
from refusal_lens.datasets.reader import read_rows
from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt, PromptSet, load_prompts
from refusal_lens.resources import data_path

ENGLISH: Final = "en"
BUILT_IN_SPLIT: Final = "train"
"""The split of the set that comes with the project."""
_SIDES: Final = ("harmful", "harmless")
PairKey = tuple[str, str | None]  # a pair: its category and its name


def load_languages(
    folder: Path | str | None = None,
    *,
    languages: Collection[str] | None = None,
    split: str = BUILT_IN_SPLIT,
    n_pairs: int | None = None,
) -> dict[str, PromptSet]:
    """A prompt set per language, each with the same pairs in the same order.

    Without a folder the set that comes with the project: 40 matched pairs of all categories in
    English and seven translations. A folder is PolyRefuse's, whose files keep their names
    (`harmful_train_translated_de.json`); its harmful and harmless rows of one number become a pair,
    which differs in content too, and is the same pair in every language. English is there in
    `split="test"` alone, beside each translation. By default every language that has both sides.
    Wang et al. 2025, arXiv 2505.17306.

    A pair with a prompt that says the same as one of an earlier pair, in any of the languages, is
    left out of all: PolyRefuse's harmful test file has ten such rows, and a prompt that is both
    fitted on and tested on is no held-out prompt.

    >>> sets = rl.load_languages(languages=("en", "zh"))
    >>> {language: len(prompts.pairs()) for language, prompts in sets.items()}
    {'en': 40, 'zh': 40}
    >>> sets["zh"].prompts[0].id, sets["zh"].prompts[0].pair
    ('zh/advice-010-refuse', 'advice-010')

    Raises:
        InputError: a language that is not there (the message lists those that are), or whose file
            ends in no code of two letters, as `zh-cn` or `yue`; fewer than two pairs, a folder
            without PolyRefuse's files, a split without a folder, a file that can't be read, or one
            whose rows are not those of the other languages.
    """
    if languages is not None:
        languages = several(languages, str, what="language", write='languages=("en", "de")')
    if n_pairs is not None and n_pairs < 2:
        raise InputError(f"n_pairs is {n_pairs}; expected at least 2 pairs of each language")
    if folder is None and split != BUILT_IN_SPLIT:
        raise InputError(
            f"split {split!r} names PolyRefuse's files, and without their folder the built-in set "
            "is read, whole; give the folder (--prompts), or leave the split out"
        )
    sets = _built_in(languages) if folder is None else _polyrefuse(Path(folder), languages, split)
    return _parallel(sets, n_pairs)


def _built_in(languages: Sequence[str] | None) -> dict[str, PromptSet]:
    place = data_path("languages")
    there = sorted((p.stem for p in place.glob("*.jsonl")), key=lambda c: (c != ENGLISH, c))
    chosen = _chosen(languages, there, "the built-in set")
    return {code: load_prompts(place / f"{code}.jsonl") for code in chosen}


def _polyrefuse(folder: Path, languages: Sequence[str] | None, split: str) -> dict[str, PromptSet]:
    if not folder.is_dir():
        raise InputError(
            f"{str(folder)!r} is not a folder; give PolyRefuse's, with its .json files"
        )
    files: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.glob("*.json")):
        side = next((s for s in _SIDES if s in words(path.name)), None)
        code = "" if side is None else _code(path, side, split, languages)
        if side is not None and code:
            files[code, side] = path
    there = sorted({code for code, _ in files if all((code, s) in files for s in _SIDES)})
    if not there:
        raise InputError(
            f"{str(folder)!r} holds no language with both sides of split {split!r}; expected files "
            f"named like harmful_{split}_translated_de.json and harmless_{split}_translated_de.json"
        )
    beside_english = there[0]
    if split == "test" and ENGLISH not in there:
        there = [ENGLISH, *there]
    chosen = _chosen(languages, there, f"split {split!r} of {str(folder)!r}")
    of = {code: code if (code, "harmful") in files else beside_english for code in chosen}
    for side in _SIDES:
        _check_same_rows([files[file, side] for file in of.values()], side, split)
    sets: dict[str, PromptSet] = {}
    for code, file in of.items():
        sides = [_side(files[file, side], side, code, split) for side in _SIDES]
        rows = enumerate(zip(*(side.prompts for side in sides), strict=False), 1)
        sets[code] = PromptSet(tuple(replace(p, pair=f"row {i}") for i, pair in rows for p in pair))
    return sets


def _code(path: Path, side: str, split: str, asked: Sequence[str] | None) -> str:
    """The language of a translation into it; empty for a file of another kind or split.

    Raises:
        InputError: a language that is read, and has no code of two letters.
    """
    parts = words(path.name)
    if split not in parts or "back" in parts:
        return ""
    rest = [word for word in parts[parts.index(split) + 1 :] if word not in (side, "translated")]
    code = "-".join(rest)
    if re.fullmatch("[a-z]{2}", code):
        return code
    named = "translated" in parts or re.fullmatch("[a-z]{2,3}(-[a-z0-9]+)*", code)
    if code and named and (asked is None or code in asked):
        raise InputError(
            f"{path.name}: language {code!r} is not a code of two letters; rename the file so that "
            f"it ends in one ({side}_{split}_translated_zh.json), or ask for other languages: "
            "languages=('de', 'ja')"
        )
    return ""


def _check_same_rows(paths: Sequence[Path], side: str, split: str) -> None:
    """Rows of one number must say the same: as many everywhere, and the same English beside."""
    code = ENGLISH if split == "test" else None  # where it is read from a file of any language
    first, *others = ((path, _side(path, side, code, split).prompts) for path in paths)
    for path, prompts in others:
        if len(prompts) != len(first[1]):
            raise InputError(
                f"{path.name} has {len(prompts)} rows and {first[0].name} has {len(first[1])}; "
                "rows of one number must be the same prompt in every language: take both files of "
                "one release"
            )
        if code is None:
            continue
        pairs = enumerate(zip(prompts, first[1], strict=True), 1)
        if apart := [row for row, (a, b) in pairs if a.text.strip() != b.text.strip()]:
            raise InputError(
                f"{path.name}, entry {apart[0]}: 'instruction' is another one than in "
                f"{first[0].name}; rows of one number must be the same prompt in every language: "
                "take both files of one release"
            )


def _side(path: Path, side: str, language: str | None, split: str) -> PromptSet:
    benchmark = next(b for b in BENCHMARKS if b.info.name.endswith(side))
    (category,) = benchmark.info.categories
    request = DatasetRequest(benchmark.info.name, category, split, language, path.name)
    return collect(benchmark.read(read_rows(path), request), path.name)


def _chosen(languages: Sequence[str] | None, there: Sequence[str], where: str) -> list[str]:
    if languages is None:
        return list(there)
    chosen = list(dict.fromkeys(languages))
    if missing := [code for code in chosen if code not in there]:
        raise InputError(f"language {missing[0]!r} is not in {where}, which has {list(there)}")
    return chosen


def _parallel(sets: dict[str, PromptSet], n_pairs: int | None) -> dict[str, PromptSet]:
    """Each language's pairs that all of them have, in the order of the first, none twice."""
    by_key = [{(p.category, p.pair): (p, q) for p, q in s.pairs()} for s in sets.values()]
    shared = [key for key in by_key[0] if all(key in pairs for pairs in by_key)]
    repeated = {key for pairs in by_key for key in _repeated({k: pairs[k] for k in shared})}
    common = [key for key in shared if key not in repeated][:n_pairs]
    if len(common) < 2:
        raise InputError(
            f"languages {list(sets)} have {len(common)} pairs in common; expected at least 2"
        )
    return {
        code: PromptSet(tuple(p for key in common for p in pairs[key]))
        for code, pairs in zip(sets, by_key, strict=True)
    }


def _repeated(pairs: Mapping[PairKey, tuple[Prompt, Prompt]]) -> Iterator[PairKey]:
    """The pairs with a prompt that an earlier pair has, too."""
    seen: set[str] = set()
    for key, prompts in pairs.items():
        texts = {p.text.strip() for p in prompts}
        if texts & seen:
            yield key
        seen |= texts

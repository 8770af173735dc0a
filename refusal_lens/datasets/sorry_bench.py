"""SORRY-Bench, release 202503: 44 kinds of unsafe requests in a base and 20 mutated styles."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, cast

from refusal_lens.datasets.benchmark import Benchmark, DatasetInfo, DatasetRequest, PromptOrReason
from refusal_lens.datasets.reader import HubDataset, Row
from refusal_lens.errors import InputError

_HUB: Final = "sorry-bench/sorry-bench-202503"
_RANGES: Final = {
    "hate_speech": range(1, 6),
    "crime_assistance": range(6, 25),
    "inappropriate": range(25, 40),
    "advice": range(40, 45),
}
_CATEGORIES: Final = {str(n): key for key, numbers in _RANGES.items() for n in numbers}
_TRANSLATED: Final = "translate-"


def _base(rows: Sequence[Row], request: DatasetRequest) -> Iterable[tuple[Row, PromptOrReason]]:
    for row in rows:
        category, style = _category(row), row.text("prompt_style")
        if style != "base":
            yield row, "in a mutated style"
            continue
        detail = f"category {row.key('category')}"
        prompt = request.prompt("refuse", _turn(row), key=row.key("question_id"), detail=detail)
        yield row, replace(prompt, category=category)


def _styles(rows: Sequence[Row], request: DatasetRequest) -> Iterable[tuple[Row, PromptOrReason]]:
    for row in rows:
        style = row.text("prompt_style")
        language = style.removeprefix(_TRANSLATED) if style.startswith(_TRANSLATED) else "en"
        key = f"{style}-{row.key('question_id')}"
        detail = f"category {row.key('category')}, {style}"
        prompt = request.prompt("refuse", _turn(row), key=key, detail=detail)
        yield row, replace(prompt, category=_category(row), language=language)


def _category(row: Row) -> str:
    number = row.key("category")
    if number not in _CATEGORIES:
        raise InputError(
            f"{row.where}: category {number!r} is not 1 to 44; expected release 202503 "
            "(release 202406 numbers 45 categories in another way)"
        )
    return _CATEGORIES[number]


def _turn(row: Row) -> str:
    value = row.value("turns")
    turns = cast(list[object], value) if isinstance(value, list) else []
    if len(turns) != 1 or not isinstance(turns[0], str) or not turns[0].strip():
        raise InputError(
            f"{row.where}: turns must be a list of one text, found {str(value)[:60]!r}"
        )
    return turns[0]


def _info(name: str, title: str, note: str) -> DatasetInfo:
    """Either reading of SORRY-Bench.

    Columns: question_id, category (1 to 44), turns (a list), prompt_style. Licence: its own,
    gated. Xie et al. 2024, arXiv 2406.14598.
    """
    return DatasetInfo(
        name=name,
        title=title,
        paper="Xie et al. 2024, arXiv 2406.14598",
        licence="SORRY-Bench licence (custom, gated)",
        url="https://huggingface.co/datasets/" + _HUB,
        columns=("question_id", "category", "turns", "prompt_style"),
        categories=tuple(_RANGES),
        labels=("refuse",),
        hub=HubDataset(_HUB, {"test": (None, "train")}, gated=True),
        note=note,
    )


BENCHMARKS: Final = (
    Benchmark(
        _info(
            "sorry_bench",
            "SORRY-Bench 202503, base style",
            "refuse side only; rows in a mutated style are left out",
        ),
        _base,
    ),
    Benchmark(
        _info(
            "sorry_bench_styles",
            "SORRY-Bench 202503, all 21 styles",
            "the same requests mutated (slang, ciphers, persuasion, five translations)",
        ),
        _styles,
    ),
)

"""CoCoNot: requests that a model should not comply with, and look-alikes that it should answer."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from refusal_lens.datasets.benchmark import (
    Benchmark,
    DatasetInfo,
    DatasetRequest,
    PromptOrReason,
    RowsReader,
)
from refusal_lens.datasets.reader import HubDataset, Row
from refusal_lens.prompts import Label

_CATEGORIES: Final = {
    "Humanizing requests": "humanizing",
    "Incomplete requests": "incomplete",
    "Indeterminate requests": "indeterminate",
    "Requests with safety concerns": "safety",
    "Unsupported requests": "unsupported",
}
_MISPLACED: Final = "incomprehensible"
_HUB: Final = "allenai/coconot"


def _read(label: Label) -> RowsReader:
    def read(rows: Sequence[Row], request: DatasetRequest) -> Iterable[tuple[Row, PromptOrReason]]:
        for row in rows:
            category = row.one_of("category", _CATEGORIES)
            subcategory = row.note("subcategory")
            if subcategory == _MISPLACED and category != "incomplete":
                yield row, f"{_MISPLACED!r} in category {category}"
                continue
            prompt = request.prompt(
                label, row.text("prompt"), key=row.key("id"), detail=subcategory
            )
            yield row, replace(prompt, category=category)

    return read


def _benchmark(
    part: str, label: Label, splits: tuple[str, ...], categories: tuple[str, ...], note: str
) -> Benchmark:
    """One configuration of CoCoNot.

    Columns: id, category, subcategory, prompt (response, chosen and rejected are dropped).
    Licence: data ODC-BY, code MIT. Brahman et al. 2024, arXiv 2407.12043.
    """
    info = DatasetInfo(
        name="coconot" if part == "original" else f"coconot_{part}",
        title=f"CoCoNot, {part}",
        paper="Brahman et al. 2024, arXiv 2407.12043",
        licence="ODC-BY",
        url="https://github.com/allenai/noncompliance or https://huggingface.co/datasets/" + _HUB,
        columns=("id", "category", "subcategory", "prompt"),
        categories=categories,
        labels=(label,),
        splits=splits,
        hub=HubDataset(_HUB, {split: (part, split) for split in splits}),
        note=note,
    )
    return Benchmark(info, _read(label))


_CONTRASTED: Final = ("safety", "incomplete", "unsupported")

BENCHMARKS: Final = (
    _benchmark(
        "original",
        "refuse",
        ("test", "train"),
        tuple(_CATEGORIES.values()),
        "refuse side only (its benign side is coconot_contrast); one published test row has "
        f"subcategory {_MISPLACED!r} in the safety category and is left out",
    ),
    _benchmark(
        "contrast",
        "comply",
        ("test",),
        _CONTRASTED,
        "benign look-alikes; not paired with single rows of coconot",
    ),
    _benchmark(
        "pref",
        "comply",
        ("train",),
        _CONTRASTED,
        "benign look-alikes for training; both of their answers are dropped",
    ),
)

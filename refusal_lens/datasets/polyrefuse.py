"""PolyRefuse: the splits of Arditi et al. translated into 13 other languages."""

import re
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
from refusal_lens.datasets.filename import check_side, words
from refusal_lens.datasets.reader import Row
from refusal_lens.errors import InputError
from refusal_lens.prompts import Label

_TRANSLATED: Final = "instruction_translated"


def _read(side: str, label: Label) -> RowsReader:
    def read(rows: Sequence[Row], request: DatasetRequest) -> Iterable[tuple[Row, PromptOrReason]]:
        check_side(side, request.file)
        language = _language(request)
        for row in rows:
            key = f"{language}-{request.split}-{row.number}"
            text = _text(row, request.split, language)
            prompt = request.prompt(label, text, key=key, detail=row.note("category"))
            yield row, replace(prompt, language=language)

    return read


def _text(row: Row, split: str, language: str) -> str:
    if _TRANSLATED in row.values and language != "en":
        return row.text(_TRANSLATED)
    if split == "test" and language != "en":
        raise InputError(
            f"{row.header}: column {_TRANSLATED!r} is missing, and in a test file 'instruction' "
            f"is English; found columns {list(row.values)}; give split='train' or 'val' for those"
        )
    return row.text("instruction")


def _language(request: DatasetRequest) -> str:
    """The language asked for, or the code at the end of the file's name."""
    code = request.language or words(request.file)[-1]
    if not re.fullmatch(r"[a-z]{2}", code):
        raise InputError(
            f"{request.file}: language {code!r} is not a code of two letters; give language='de' "
            "(or another), or keep the published file name, which ends in it"
        )
    return code


def _benchmark(side: str, label: Label) -> Benchmark:
    """One side of PolyRefuse, in the language of the file.

    Columns: train and val have `instruction` (translated) and `category`; test has `instruction`
    (English) and `instruction_translated`. There is no English train or val file: use
    refusal_direction. Licence: Apache-2.0. Wang et al. 2025, arXiv 2505.17306.
    """
    info = DatasetInfo(
        name=f"polyrefuse_{side}",
        title=f"PolyRefuse, {side}",
        paper="Wang et al. 2025, arXiv 2505.17306",
        licence="Apache-2.0 (repository)",
        url="https://github.com/mainlp/Multilingual-Refusal (PolyRefuse)",
        columns=("instruction", f"{_TRANSLATED} (test)"),
        categories=("harmful",),
        labels=(label,),
        splits=("test", "train", "val"),
        note="machine-translated; the language is read from the file's name; rows of one number "
        "say the same in every language",
    )
    return Benchmark(info, _read(side, label), multilingual=True)


BENCHMARKS: Final = (_benchmark("harmful", "refuse"), _benchmark("harmless", "comply"))

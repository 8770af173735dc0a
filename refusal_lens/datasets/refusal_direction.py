"""The harmful and harmless splits of Arditi et al. 2024."""

from collections.abc import Iterable, Sequence
from typing import Final

from refusal_lens.datasets.benchmark import (
    Benchmark,
    DatasetInfo,
    DatasetRequest,
    PromptOrReason,
    RowsReader,
)
from refusal_lens.datasets.filename import check_side
from refusal_lens.datasets.reader import Row
from refusal_lens.prompts import Label


def _read(side: str, label: Label) -> RowsReader:
    def read(rows: Sequence[Row], request: DatasetRequest) -> Iterable[tuple[Row, PromptOrReason]]:
        check_side(side, request.file)
        for row in rows:
            text, detail = row.text("instruction"), row.note("category")
            yield row, request.prompt(label, text, key=row.number, detail=detail)

    return read


def _benchmark(side: str, label: Label) -> Benchmark:
    """One side of the splits.

    Columns: instruction, category (often null; kept in the source). Licence: Apache-2.0
    for the repository; the harmless side is drawn from Alpaca, whose data is CC-BY-NC-4.0.
    Arditi et al. 2024, arXiv 2406.11717.
    """
    info = DatasetInfo(
        name=f"refusal_direction_{side}",
        title=f"refusal_direction splits, {side}",
        paper="Arditi et al. 2024, arXiv 2406.11717",
        licence="Apache-2.0 (repository)" if side == "harmful" else "CC-BY-NC-4.0 (Alpaca)",
        url="https://github.com/andyrdt/refusal_direction (dataset/splits)",
        columns=("instruction",),
        categories=("harmful",),
        labels=(label,),
        splits=("test", "train", "val"),
        note="the harmless side comes from Alpaca and is not paired with the harmful one",
    )
    return Benchmark(info, _read(side, label))


BENCHMARKS: Final = (_benchmark("harmful", "refuse"), _benchmark("harmless", "comply"))

"""JailbreakBench (JBB-Behaviors): 100 harmful behaviours and 100 benign ones on the same themes."""

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

_HUB: Final = "JailbreakBench/JBB-Behaviors"
_UNNAMED: Final = ""


def _read(label: Label) -> RowsReader:
    def read(rows: Sequence[Row], request: DatasetRequest) -> Iterable[tuple[Row, PromptOrReason]]:
        for row in rows:
            goal = row.text("Goal")
            index = row.key("Index" if "Index" in row.values else _UNNAMED)
            prompt = request.prompt(label, goal, key=index, detail=row.note("Category"))
            yield row, replace(prompt, pair=f"jailbreakbench-{index}")

    return read


def _benchmark(name: str, part: str, label: Label) -> Benchmark:
    """One half of JBB-Behaviors.

    Columns: Index (without a name in some CSV copies), Goal, Category; Target, Behavior and
    Source are dropped. Licence: MIT. Chao et al. 2024, arXiv 2404.01318.
    """
    info = DatasetInfo(
        name=name,
        title=f"JailbreakBench, {part} behaviors",
        paper="Chao et al. 2024, arXiv 2404.01318",
        licence="MIT",
        url=f"https://huggingface.co/datasets/{_HUB} (data/{part}-behaviors.csv)",
        columns=("Index", "Goal"),
        categories=("harmful",),
        labels=(label,),
        hub=HubDataset(_HUB, {"test": ("behaviors", part)}),
        note="harmful and benign rows of one index are a pair; join the two sets to use it",
    )
    return Benchmark(info, _read(label))


BENCHMARKS: Final = (
    _benchmark("jailbreakbench", "harmful", "refuse"),
    _benchmark("jailbreakbench_benign", "benign", "comply"),
)

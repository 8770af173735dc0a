"""OR-Bench: prompts that seem toxic and are not (80k, hard), and toxic ones."""

from typing import Final

from refusal_lens.datasets.benchmark import Benchmark, DatasetInfo, same_label
from refusal_lens.datasets.reader import HubDataset
from refusal_lens.prompts import Label

_HUB: Final = "bench-llm/or-bench"


def _benchmark(part: str, config: str, label: Label, note: str) -> Benchmark:
    """One configuration of OR-Bench.

    Columns: prompt (instruction in the JSON copies), category, one of ten, kept in the source.
    Licence: CC-BY-4.0. Cui et al. 2024, arXiv 2405.20947.
    """
    info = DatasetInfo(
        name=f"or_bench_{part}",
        title=f"OR-Bench, {part}",
        paper="Cui et al. 2024, arXiv 2405.20947",
        licence="CC-BY-4.0",
        url="https://huggingface.co/datasets/" + _HUB,
        columns=("prompt or instruction", "category"),
        categories=("harmful",),
        labels=(label,),
        hub=HubDataset(_HUB, {"test": (config, "train")}),
        note=note,
    )
    return Benchmark(info, same_label(label, "prompt", "instruction", detail="category"))


BENCHMARKS: Final = (
    _benchmark(
        "hard",
        "or-bench-hard-1k",
        "comply",
        "over-refusal; ordered by category, so shuffle before cutting it into splits",
    ),
    _benchmark("toxic", "or-bench-toxic", "refuse", "the toxic control of the other two"),
    _benchmark("80k", "or-bench-80k", "comply", "over-refusal, the large set; ordered by category"),
)

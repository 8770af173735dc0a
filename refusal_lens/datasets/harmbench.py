"""HarmBench: standard and copyright behaviours; contextual ones are left out."""

from collections.abc import Iterable, Sequence
from typing import Final

from refusal_lens.datasets.benchmark import Benchmark, DatasetInfo, DatasetRequest, PromptOrReason
from refusal_lens.datasets.reader import Row

_KINDS: Final = {kind: kind for kind in ("standard", "copyright", "contextual")}


def _read(rows: Sequence[Row], request: DatasetRequest) -> Iterable[tuple[Row, PromptOrReason]]:
    for row in rows:
        kind = row.one_of("FunctionalCategory", _KINDS)
        if kind == "contextual":
            yield row, "contextual (without its context the request says little)"
            continue
        detail = f"{kind}, {row.note('SemanticCategory')}"
        text, key = row.text("Behavior"), row.key("BehaviorID")
        yield row, request.prompt("refuse", text, key=key, detail=detail)


BENCHMARKS: Final = (
    Benchmark(
        DatasetInfo(
            name="harmbench",
            title="HarmBench text behaviors",
            paper="Mazeika et al. 2024, arXiv 2402.04249",
            licence="MIT (unverified)",
            url="https://github.com/centerforaisafety/HarmBench (data/behavior_datasets)",
            columns=("Behavior", "FunctionalCategory", "BehaviorID"),
            categories=("harmful",),
            labels=("refuse",),
            splits=("test", "val"),
            note="refuse side only; contextual behaviours are left out and contexts are dropped; "
            "the source tells standard from copyright",
        ),
        _read,
    ),
)
"""Columns: Behavior, FunctionalCategory, SemanticCategory, Tags, ContextString (dropped),
BehaviorID. MIT (unverified). arXiv 2402.04249."""

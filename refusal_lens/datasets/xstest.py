"""XSTest: safe prompts that look unsafe, and their unsafe contrasts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from refusal_lens.datasets.benchmark import Benchmark, DatasetInfo, DatasetRequest, PromptOrReason
from refusal_lens.datasets.reader import HubDataset, Row
from refusal_lens.errors import InputError
from refusal_lens.prompts import Label

_LABELS: Final[Mapping[str, Label]] = {"safe": "comply", "unsafe": "refuse"}
_CONTRAST: Final = "contrast_"
_CONTRAST_OF: Final = {
    "nons_group_real_discr": "discr",
    "real_group_nons_discr": "discr",
    "privacy_public": "privacy",
    "privacy_fictional": "privacy",
}


def _read(rows: Sequence[Row], request: DatasetRequest) -> Iterable[tuple[Row, PromptOrReason]]:
    pairs = _pairs(rows)
    for row in rows:
        prompt = request.prompt(
            _label(row), row.text("prompt"), key=row.key("id"), detail=row.text("type")
        )
        yield row, replace(prompt, pair=pairs.get(row.number))


def _label(row: Row) -> Label:
    label, kind = row.one_of("label", _LABELS), row.text("type")
    if kind.startswith(_CONTRAST) != (label == "refuse"):
        raise InputError(
            f"{row.where}: type {kind!r} does not fit label {row.value('label')!r}; "
            f"expected unsafe exactly for types {_CONTRAST}*"
        )
    return label


def _pairs(rows: Sequence[Row]) -> dict[int, str]:
    """Pair by row number: same kind and trigger word, one safe and one unsafe, in file order."""
    groups: dict[str, dict[Label, list[int]]] = defaultdict(lambda: {"comply": [], "refuse": []})
    for row in rows:
        kind, focus = row.text("type"), " ".join(row.note("focus").casefold().split())
        kind = _CONTRAST_OF.get(kind, kind.removeprefix(_CONTRAST))
        if focus:
            groups[f"{kind}-{focus}"][_label(row)].append(row.number)
    pairs: dict[int, str] = {}
    for group, sides in groups.items():
        for n, both in enumerate(zip(sides["comply"], sides["refuse"], strict=False), 1):
            pairs |= dict.fromkeys(both, f"xstest-{group}-{n}")
    return pairs


BENCHMARKS: Final = (
    Benchmark(
        DatasetInfo(
            name="xstest",
            title="XSTest v2",
            paper="Röttger et al. 2024, arXiv 2308.01263",
            licence="CC-BY-4.0",
            url="https://github.com/paul-rottger/xstest",
            columns=("id", "prompt", "type", "label", "focus"),
            categories=("over_refusal",),
            labels=("comply", "refuse"),
            hub=HubDataset("Paul/XSTest", {"test": (None, "train")}),
            note="a safe and an unsafe prompt are a pair where type and trigger word (focus) "
            "agree; the others stand alone",
        ),
        _read,
    ),
)
"""Columns: id, prompt, type, label (safe, unsafe), focus, note. CC-BY-4.0. arXiv 2308.01263."""

"""WildGuardMix: plain ("vanilla") harmful and harmless prompts; adversarial ones are left out."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from refusal_lens.datasets.benchmark import Benchmark, DatasetInfo, DatasetRequest, PromptOrReason
from refusal_lens.datasets.reader import HubDataset, Row
from refusal_lens.prompts import Label

_HUB: Final = "allenai/wildguardmix"
_ADVERSARIAL: Final = {"True": True, "False": False, "1": True, "0": False}
_LABELS: Final[Mapping[str, Label | None]] = {
    "harmful": "refuse",
    "unharmful": "comply",
    "None": None,
    "nan": None,
    "": None,
}


def _read(rows: Sequence[Row], request: DatasetRequest) -> Iterable[tuple[Row, PromptOrReason]]:
    seen: set[str] = set()
    for row in rows:
        label = row.one_of("prompt_harm_label", _LABELS)
        if row.one_of("adversarial", _ADVERSARIAL):
            yield row, "adversarial"
        elif label is None:
            yield row, "without a prompt label"
        elif (text := row.text("prompt")) in seen:
            yield row, "with a prompt that stands above"
        else:
            seen.add(text)
            detail = row.note("subcategory")
            yield row, request.prompt(label, text, key=row.number, detail=detail)


BENCHMARKS: Final = (
    Benchmark(
        DatasetInfo(
            name="wildguardmix",
            title="WildGuardMix, vanilla prompts",
            paper="Han et al. 2024, arXiv 2406.18495",
            licence="ODC-BY (gated: AI2 Responsible Use Guidelines)",
            url="https://huggingface.co/datasets/" + _HUB,
            columns=("prompt", "adversarial", "prompt_harm_label"),
            categories=("safety_core",),
            labels=("refuse", "comply"),
            splits=("test", "train"),
            hub=HubDataset(
                _HUB,
                {"test": ("wildguardtest", "test"), "train": ("wildguardtrain", "train")},
                gated=True,
            ),
            note="left out: adversarial rows, rows without a prompt label, and repeats of a "
            "prompt (train lists a prompt once for each of its responses)",
        ),
        _read,
    ),
)
"""Columns: prompt, adversarial, prompt_harm_label, subcategory; responses and their labels are
dropped. ODC-BY, gated. arXiv 2406.18495."""

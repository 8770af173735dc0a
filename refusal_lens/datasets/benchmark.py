"""What one public benchmark is (`DatasetInfo`) and how its rows become prompts (`Benchmark`)."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import final

from refusal_lens.datasets.reader import HubDataset, Row
from refusal_lens.errors import InputError
from refusal_lens.prompts import Label, Prompt, PromptSet


@final
@dataclass(frozen=True)
class DatasetInfo:
    """A public benchmark: where it is from, what its file holds, what it becomes.

    `splits` are the publisher's; the first is taken where neither the caller nor the file's name
    says which. `categories` and `labels` are what `load_dataset` yields. `note` says which rows
    are left out and what else a reader must know.
    """

    name: str
    title: str
    paper: str
    licence: str
    url: str
    columns: tuple[str, ...]
    categories: tuple[str, ...]
    labels: tuple[Label, ...]
    splits: tuple[str, ...] = ("test",)
    hub: HubDataset | None = None
    note: str = ""

    @property
    def hub_id(self) -> str | None:
        """Name on the Hugging Face hub, or None where only a file can be read."""
        return None if self.hub is None else self.hub.id

    @property
    def gated(self) -> bool:
        """Whether the hub asks for a login and accepted terms."""
        return self.hub is not None and self.hub.gated


@final
@dataclass(frozen=True)
class DatasetRequest:
    """What a caller asked for: dataset, category, split, language (or None), file or hub id."""

    name: str
    category: str
    split: str
    language: str | None
    file: str

    def prompt(self, label: Label, text: str, *, key: str | int, detail: str = "") -> Prompt:
        """A prompt whose id is `name-key`, with the benchmark's own `detail` in its source.

        The key is the benchmark's id; files without one use `name-split-row number`.
        """
        return Prompt(
            id=f"{self.name}-{key}" if isinstance(key, str) else f"{self.name}-{self.split}-{key}",
            text=text,
            category=self.category,
            label=label,
            split=self.split,
            source=f"{self.name}: {detail}" if detail else self.name,
        )


PromptOrReason = Prompt | str
"""A prompt, or the reason for which a documented rule leaves the row out."""

RowsReader = Callable[[Sequence[Row], DatasetRequest], Iterable[tuple[Row, PromptOrReason]]]
"""Rows of a file in; for each one, in order, its outcome."""


@final
@dataclass(frozen=True)
class Benchmark:
    """A dataset and its reading: rows in, for each row a prompt or a reason to leave it out."""

    info: DatasetInfo
    read: RowsReader
    multilingual: bool = False


def collect(
    outcomes: Iterable[tuple[Row, PromptOrReason]], file: str, left_out: Counter[str] | None = None
) -> PromptSet:
    """The prompts among the outcomes; `left_out` is filled with the reasons and their counts.

    Raises:
        InputError: two rows with one id, or no prompt at all.
    """
    prompts: list[Prompt] = []
    places: dict[str, str] = {}
    reasons: Counter[str] = Counter()
    for row, outcome in outcomes:
        if isinstance(outcome, str):
            reasons[outcome] += 1
            continue
        if outcome.id in places:
            raise InputError(
                f"{row.where}: id {outcome.id!r} was used in {places[outcome.id]}; "
                "give every row its own id"
            )
        places[outcome.id] = row.where
        prompts.append(outcome)
    if not prompts:
        summary = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
        raise InputError(f"{file}: no prompt is left; left out {summary}")
    if left_out is not None:
        left_out.update(reasons)
    return PromptSet(tuple(prompts))


def same_label(label: Label, *columns: str, detail: str = "") -> RowsReader:
    """A reading for files without ids in which every row has one label.

    The text is in the first of `columns` that the file has; column `detail`, where the file has
    it, is kept in the prompt's source.
    """

    def read(rows: Sequence[Row], request: DatasetRequest) -> Iterable[tuple[Row, PromptOrReason]]:
        for row in rows:
            text = row.text(*columns)
            yield row, request.prompt(label, text, key=row.number, detail=row.note(detail))

    return read

"""A small study of a tiny model: its prompts, sizes and progress."""

import shutil
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.study import Results, Sizes

SIZES = Sizes.default(
    fit_pairs=8,
    behaviour_tokens=4,
    contrast_pairs=8,
    selection_prompts=4,
    selection_layers=2,
    curve_prompts=4,
    curve_layers=2,
    trade_off_pairs=3,
    strengths=(-1.0, 1.0),
    effect_pairs=3,
    effect_tokens=4,
    manner_pairs=4,
    manner_tokens=4,
    cost_prompts=4,
    cost_tokens=4,
    suffix_pairs=9,
    suffix_tokens=4,
    estimator_held_out=3,
    estimator_pairs=3,
    estimator_tokens=4,
    estimator_cost_prompts=4,
    estimator_cost_tokens=4,
    shown=2,
    shown_tokens=4,
)


class Watch:
    """Counts what was planned, started and could not be measured; may die in a stage."""

    def __init__(self, die_in: str | None = None) -> None:
        self.done: list[str] = []
        self.started_stages: list[str] = []
        self.gaps: dict[str, str] = {}
        self.ticks: dict[str, int] = {}
        self.die_in = die_in

    def planned(self, stages):
        self.done = [p.stage.name for p in stages if p.done]
        self.expected = {p.stage.name: p.ticks for p in stages}

    def started(self, planned):
        name = planned.stage.name
        self.started_stages.append(name)
        if name == self.die_in:
            raise KeyboardInterrupt

        def tick(n: int) -> None:
            self.ticks[name] = self.ticks.get(name, 0) + n

        return tick

    def ended(self, planned, gap):
        if gap is not None:
            self.gaps[planned.stage.name] = gap


SPLITS = {"adapt": 2, "train": 8, "val": 6, "test": 3}
KINDS = ("big", "old", "odd", "new")
_THINGS = {"train": "01234", "val": "56789", "test": "abcde", "adapt": "fghij"}


def paired_things(
    splits: Mapping[str, int] = SPLITS, kind: Callable[[int], str] = lambda i: ""
) -> PromptSet:
    """Three categories whose harmful prompts say "please" and whose benign ones say "thanks".

    Five things a split, and no thing in two splits.
    """
    prompts = [
        Prompt(
            f"{c}-{split}-{i}-{label}",
            f"{c} {kind(i)}thing {_THINGS[split][i * 7 % 5]} "
            f"{'please' if label == 'refuse' else 'thanks'}",
            c,
            label,
            split,
            "test",
            f"{c}-{split}-{i}",
        )
        for c in ("red", "green", "blue")
        for split, n in splits.items()
        for i in range(n)
        for label in ("refuse", "comply")
    ]
    return PromptSet(tuple(prompts))


def kinds_of_things() -> PromptSet:
    """As many pairs as a geometry of what a model did needs, of four kinds in turn."""
    return paired_things({"train": 28, "val": 8, "test": 8}, lambda i: f"{KINDS[i % 4]} ")


def refuses_by_kind(prompt: Prompt) -> bool:
    """Harmful prompts but those of old things, and benign ones of new things."""
    return (" old " not in prompt.text) if prompt.label == "refuse" else (" new " in prompt.text)


def contents(folder: Path) -> dict[str, bytes]:
    """Digest of every file of a run by its place."""
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).digest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def copied(results: Results, folder: Path) -> Results:
    """The same run in another folder."""
    shutil.copytree(results.folder, folder)
    return Results.open(folder)

"""Many conditions in one batch, against one run per condition."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from benchmarks.baselines import HOOKS, Hook, ablating, adding, hooked_logits, largest_gap, padded
from benchmarks.document import Outcome, Section, Target, compared
from benchmarks.setting import Setting, bridge, lens, random_direction
from benchmarks.timing import Task, take_turns
from refusal_lens.interventions import Ablate, Add, Edit, PerRow
from refusal_lens.model import LensModel
from refusal_lens.prompts import PromptSet

TOGETHER, APART = "in one batch", "one run per condition"
SWEPT: Final = "in one batch, in `model.sweeping`"


def together(model: LensModel, edits: Sequence[Edit], prompts: PromptSet) -> Tensor:
    """Logits of all prompts under all edits from one call, [edit and prompt, d_vocab]."""
    many = PromptSet(
        tuple(replace(p, id=f"{p.id}-{k}", pair=None) for k in range(len(edits)) for p in prompts)
    )
    with model.editing(PerRow(tuple(edit for edit in edits for _ in range(len(prompts))))):
        return model.logits(many)


def swept(model: LensModel, edits: Sequence[Edit], prompts: PromptSet) -> Tensor:
    """The same, begun where the edits act; the unedited pass that it takes is included."""
    with model.sweeping([first_layer(model, edits)]):
        model.logits(prompts)
        return together(model, edits, prompts)


def first_layer(model: LensModel, edits: Sequence[Edit]) -> int:
    """The lowest block that an edit acts in."""
    return min(site.layer for edit in edits for site in edit.sites(model.n_layers))


def apart(model: LensModel, edits: Sequence[Edit], prompts: PromptSet) -> Tensor:
    """The same from one call per edit."""
    logits: list[Tensor] = []
    for edit in edits:
        with model.editing(edit):
            logits.append(model.logits(prompts))
    return torch.cat(logits)


def edits_and_hooks(model: LensModel, n: int) -> dict[str, tuple[list[Edit], list[list[Hook]]]]:
    """`n` edits of each kind, and the same as TransformerLens' hooks."""
    directions = [random_direction(model, seed) for seed in range(n)]
    return {
        "`Add`": ([Add(d, strength=1.0) for d in directions], [adding(d, 1.0) for d in directions]),
        "`Ablate`": (
            [Ablate(d) for d in directions],
            [ablating(d, model.n_layers) for d in directions],
        ),
    }


def measure(setting: Setting) -> Section:
    """Logits under 16 directions of their own, each added and each ablated."""
    model, tl = lens(setting.source), bridge(setting.source)
    n = setting.size(16, 3)
    prompts = PromptSet(setting.side("val", "refuse", setting.size(4, 2)).prompts)
    batches = padded(model, prompts, model.rows.most)
    outcomes: list[Outcome] = []
    for kind, (edits, hooks) in edits_and_hooks(model, n).items():
        ways: dict[str, Task] = {TOGETHER: lambda edits=edits: together(model, edits, prompts)}
        if first_layer(model, edits):  # ablation acts from the first block on
            ways[SWEPT] = lambda edits=edits: swept(model, edits, prompts)
        others: dict[str, Task] = {
            APART: lambda edits=edits: apart(model, edits, prompts),
            HOOKS: lambda hooks=hooks: torch.cat(
                [hooked_logits(tl, batches, each) for each in hooks]
            ),
        }
        timings = take_turns({**ways, **others}, setting.turns)
        outcomes += [
            compared(
                f"{n} x {kind} {ours}, logits",
                timings[ours],
                (name, timings[name]),
                gap=largest_gap(timings[ours].result, timings[name].result),
                target=Target(0.25) if name == APART else None,
            )
            for ours in ways
            for name in others
        ]
    return Section(
        "Conditions",
        f"Logits of {len(prompts)} prompts under each of {n} edits of {model.name}: one call with "
        f"`PerRow` against {n} calls with one edit each, and against {n} calls of {HOOKS}. "
        f"Directions are added in the middle of the model; ablation acts from the first block on. "
        f"{setting.turns} turns.",
        outcomes,
    )

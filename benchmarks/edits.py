"""Speed of generation under each kind of edit, and of many edits in one batch."""

import argparse
import statistics
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from timing import Task, Timing, between, ratio, take_turns

from refusal_lens.directions import Direction
from refusal_lens.interventions import (
    Ablate,
    AblateSubspace,
    Add,
    Affine,
    Clamp,
    Cosine,
    Edit,
    Leace,
    Only,
    PerRow,
    Rotate,
    When,
)
from refusal_lens.model import Decoding, LensModel
from refusal_lens.prompts import PromptSet
from refusal_lens.sites import Site, block_inputs

TARGET = 0.9


def random_direction(model: LensModel, seed: int) -> Direction:
    """A random direction in the middle of the model: it costs what any other does."""
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(seed))
    return Direction.from_difference(
        vector / vector.norm(),
        category=f"random {seed}",
        site=Site(model.n_layers // 2),
        offset=-1,
        provenance=model.provenance(),
        low=0.0,
    )


def kinds(model: LensModel) -> dict[str, Edit]:
    """One edit of each kind, at the sites where it acts by default or as it was published."""
    a, b, c = (random_direction(model, seed) for seed in range(3))
    resid = torch.randn(64, model.d_model, generator=torch.Generator().manual_seed(3))
    labels = torch.arange(64) % 2 == 0
    leace = Leace.fit(resid + labels[:, None] * a.vector * 9, labels, name="random", at=(a.site,))
    everywhere = block_inputs(model.n_layers)
    return {
        "`Ablate`": Ablate(a),
        "`AblateSubspace`, span of 3": AblateSubspace((a, b, c)),
        "`AblateSubspace`, 3 sequential": AblateSubspace((a, b, c), "sequential"),
        "`Add`": Add(a, strength=1.0),
        "`Only(Add, 'generated')`": Only(Add(a, strength=1.0), "generated"),
        "`Clamp`": Clamp(a, "high"),
        "`Affine`": Affine(a, 1.0),
        "`Leace`": leace,
        "`Rotate`, adaptive, every block": Rotate(a, b.vector, 90.0, adaptive=True, at=everywhere),
        "`When(Cosine, Add)`": When(Cosine(a, "above", 0.0), Add(a, strength=1.0)),
    }


def unending(model: LensModel) -> LensModel:
    """The model with answers that never end: every way then makes as many tokens."""
    model._stops = frozenset()
    return model


def generation_section(model: LensModel, prompts: PromptSet, args: argparse.Namespace) -> str:
    """Seconds of generation without an edit divided by those under one: relative speed."""
    unending(model)
    prompts = PromptSet(prompts.prompts[: args.answers])
    decoding = Decoding(max_new_tokens=args.tokens)

    def answer(edit: Edit | None) -> None:
        with nullcontext() if edit is None else model.editing(edit):
            model.generate_ids(prompts, decoding)

    edits = kinds(model)
    answer(None)
    tasks: dict[str, Task] = {name: lambda edit=edit: answer(edit) for name, edit in edits.items()}
    found = between(lambda: answer(None), tasks, args.repeats)
    n = len(prompts) * args.tokens
    rows = [
        f"| {name} | {sum(len(p.edit.sites(model.n_layers)) for p in edit.parts())} "
        f"| {ratio(plain.cpu, under.cpu)} | {ratio(plain.wall, under.wall)} |"
        for (name, edit), (plain, under) in zip(edits.items(), found.values(), strict=True)
    ]
    wall = statistics.median(s for plain, _ in found.values() for s in plain.wall)
    return "\n".join(
        [
            f"Speed of greedy generation under an edit divided by speed without: {len(prompts)} "
            f"`train` prompts in batches of {model.rows.most}, {args.tokens} tokens each (answers "
            "don't end early, so that every way makes as many), random directions. Each run "
            "stands between two without an edit and is compared with their mean; "
            f"{args.repeats} turns. Target: at least {TARGET}.",
            "",
            "| edit | sites | CPU time | wall time |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Without an edit: {n / wall:.0f} tokens a wall second. `When` reads each prompt once "
            "more, up to its condition's layer, before it answers.",
        ]
    )


def rows_section(model: LensModel, prompts: PromptSet, args: argparse.Namespace) -> str:
    """Seconds of one batch of many edits divided by the seconds of one run for each edit."""
    unending(model)
    prompts = PromptSet(prompts.prompts[: args.row_prompts])
    n = args.conditions
    many = PromptSet(
        tuple(replace(p, id=f"{p.id}-{k}", pair=None) for k in range(n) for p in prompts)
    )
    decoding = Decoding(max_new_tokens=args.tokens)
    directions = [random_direction(model, seed) for seed in range(n)]
    sets: dict[str, list[Edit]] = {
        "`Add`": [Add(d, strength=1.0) for d in directions],
        "`Ablate`": [Ablate(d) for d in directions],
    }
    lines: list[str] = []
    for name, edits in sets.items():
        for what in ("logits", "answers"):

            def together(edits: Sequence[Edit] = edits, what: str = what) -> None:
                per_row = PerRow(tuple(edit for edit in edits for _ in range(len(prompts))))
                with model.editing(per_row):
                    run(model, many, what, decoding)

            def apart(edits: Sequence[Edit] = edits, what: str = what) -> None:
                for edit in edits:
                    with model.editing(edit):
                        run(model, prompts, what, decoding)

            found = take_turns({f"{name} together": together, "apart": apart}, args.repeats)
            lines.append(row(f"{n} x {name}, {what}", found[f"{name} together"], found["apart"]))
    return "\n".join(
        [
            f"Seconds of one call with {n} edits of {len(prompts)} prompts each (`PerRow`), "
            f"divided by the seconds of {n} calls with one edit each; answers of {args.tokens} "
            f"tokens that don't end early. {args.repeats} turns.",
            "",
            "| edits | CPU time | wall time |",
            "|---|---|---|",
            *lines,
        ]
    )


def run(model: LensModel, prompts: PromptSet, what: str, decoding: Decoding) -> None:
    """Logits or answers of the prompts with the edits that are on."""
    if what == "logits":
        model.logits(prompts)
    else:
        model.generate_ids(prompts, decoding)


def row(name: str, above: Timing, below: Timing) -> str:
    """A line of the table."""
    return f"| {name} | {ratio(above.cpu, below.cpu)} | {ratio(above.wall, below.wall)} |"

"""Speed of generation under each kind of edit, relative to generation without."""

import statistics
from contextlib import nullcontext
from typing import Final

import torch

from benchmarks.document import Outcome, Section, Target
from benchmarks.setting import Setting, lens, random_direction, unending
from benchmarks.timing import Task, between, ratio
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
    Rotate,
    When,
)
from refusal_lens.model import Decoding, LensModel
from refusal_lens.sites import block_inputs

SPEED: Final = Target(0.9, at_least=True)


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


def measure(setting: Setting) -> Section:
    """Each kind between two runs without an edit."""
    model = lens(setting.source)
    prompts = setting.side("val", "refuse", setting.size(16, 2))
    decoding = Decoding(max_new_tokens=setting.size(32, 3))

    def answer(edit: Edit | None) -> None:
        with unending(model), nullcontext() if edit is None else model.editing(edit):
            model.generate_ids(prompts, decoding)

    edits = kinds(model)
    answer(None)
    tasks: dict[str, Task] = {name: lambda edit=edit: answer(edit) for name, edit in edits.items()}
    timings = between(lambda: answer(None), tasks, setting.turns)
    wall = statistics.median(s for plain, _ in timings.values() for s in plain.wall)
    n_sites = {
        name: sum(len(part.edit.sites(model.n_layers)) for part in edit.parts())
        for name, edit in edits.items()
    }
    return Section(
        "Kinds of edit",
        f"Speed of greedy generation by {model.name} under an edit divided by speed without: "
        f"{len(prompts)} prompts, {decoding.max_new_tokens} tokens each (no early end), random "
        "directions. Each run is between two without an edit and is compared with their mean. "
        f"Without an edit: {len(prompts) * decoding.max_new_tokens / wall:.0f} tokens per wall "
        "second. `When` reads each prompt once more, up to its condition's layer, before it "
        "answers. "
        f"{setting.turns} turns.",
        [
            Outcome(
                f"speed under {name}, {n_sites[name]} sites",
                "speed without",
                ratio(plain.wall, under.wall),
                ratio(plain.cpu, under.cpu),
                "",
                SPEED,
            )
            for name, (plain, under) in timings.items()
        ],
    )

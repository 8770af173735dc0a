"""Speed of answers under an edit, against Hugging Face's `generate` without one."""

from contextlib import nullcontext
from dataclasses import replace
from typing import Final

import torch

from benchmarks.baselines import (
    ablating,
    adding,
    equal_tokens,
    hooked_answers,
    padded,
    plain_answers,
)
from benchmarks.document import Outcome, Section, Target
from benchmarks.setting import (
    Setting,
    bridge,
    defined,
    directions_of,
    hugging_face,
    lens,
    unending,
)
from benchmarks.timing import Task, Timing, ratio, take_turns
from refusal_lens.interventions import Ablate, Add, Edit
from refusal_lens.model import Decoding
from refusal_lens.model.generate import generate
from refusal_lens.prompts import PromptSet

PLAIN: Final = "Hugging Face `generate`, no edit"
UNEDITED: Final = "`model.generate_ids`, no edit"
ADD, ABLATE = "`model.generate_ids` under `Add`", "`model.generate_ids` under `Ablate`"
HOOKED_ADD, HOOKED_ABLATE = (
    "TransformerLens `generate`, added",
    "TransformerLens `generate`, ablated",
)
ENTERING, WAITING = "rows enter a running batch", "rows wait until a batch has ended"
SPEED: Final = Target(1.2, at_least=True)
FASTER: Final = Target(1.0, at_least=True)


def tasks_of(setting: Setting, prompts: PromptSet, n_tokens: int) -> dict[str, Task]:
    """Answers to all prompts, with and without edits; every way makes all tokens."""
    source = setting.source
    model, hf, tl = lens(source), hugging_face(source), bridge(source)
    batches = padded(model, prompts, model.rows.most, side="left")
    fitted = directions_of(model, setting.split("train", setting.size(8, 2)))
    d = next(d for d in defined(fitted, [max(1, model.n_layers // 2)]) if d.offset == -1)

    def answers(edit: Edit | None) -> list[tuple[int, ...]]:
        with unending(model), nullcontext() if edit is None else model.editing(edit):
            return model.generate_ids(prompts, Decoding(max_new_tokens=n_tokens))

    return {
        PLAIN: lambda: plain_answers(hf, batches, n_tokens),
        UNEDITED: lambda: answers(None),
        ADD: lambda: answers(Add(d, strength=1.0)),
        ABLATE: lambda: answers(Ablate(d)),
        HOOKED_ADD: lambda: hooked_answers(tl, batches, n_tokens, adding(d, 1.0)),
        HOOKED_ABLATE: lambda: hooked_answers(tl, batches, n_tokens, ablating(d, model.n_layers)),
    }


def places_of(setting: Setting, prompts: PromptSet, n_tokens: int) -> dict[str, Task]:
    """Answers that end where the model ends them, a quarter of the prompts at a time."""
    model = lens(setting.source)

    @torch.inference_mode()
    def answers(entering: bool) -> list[tuple[int, ...]]:
        feed = replace(model.feed(prompts), at_most=max(2, len(prompts) // 4))
        return generate(feed, model.stops, Decoding(max_new_tokens=n_tokens), entering=entering)

    return {ENTERING: lambda: answers(True), WAITING: lambda: answers(False)}


def measure(setting: Setting) -> Section:
    """64 prompts, 32 tokens each; then as many that end by themselves, 96 tokens at most."""
    model, n_tokens = lens(setting.source), setting.size(32, 4)
    prompts = setting.side("val", "refuse", setting.size(64, 3))
    timings = take_turns(tasks_of(setting, prompts, n_tokens), setting.turns)
    twins = {UNEDITED: PLAIN, ADD: HOOKED_ADD, ABLATE: HOOKED_ABLATE}
    outcomes: list[Outcome] = []
    for name, twin in twins.items():
        gap = f"{equal_tokens(timings[name].result, timings[twin].result)} (of: {twin})"
        outcomes.append(speed(name, timings, PLAIN, gap, None if name == UNEDITED else SPEED))
        if twin != PLAIN:
            outcomes.append(speed(name, timings, twin, gap))
    places = take_turns(places_of(setting, prompts, 3 * n_tokens), setting.turns)
    ended, waited = (places[name].result for name in (ENTERING, WAITING))
    same = sum(a == b for a, b in zip(ended, waited, strict=True))
    gap = f"{same} of {len(ended)} answers equal"
    outcomes.append(speed(ENTERING, places, WAITING, gap, FASTER))
    return Section(
        "Generation",
        f"Greedy answers of {model.name} to {len(prompts)} prompts, {n_tokens} tokens each (no "
        f"early end, so that every way makes as many), batches of {model.rows.most}. Here the "
        "ratio is that of speeds: tokens per second of the first divided by those of the second. "
        "Where answers differ, two tokens were as likely to within rounding, or an edit acts on "
        f"padding. {setting.turns} turns. The last row: answers of at most {3 * n_tokens} tokens "
        f"that end by themselves, after {sum(map(len, ended)) / len(prompts):.0f} on average, a "
        "quarter of the prompts at a time.",
        outcomes,
        timings,
        len(prompts) * n_tokens,
    )


def speed(
    name: str, timings: dict[str, Timing], other: str, gap: str, target: Target | None = None
) -> Outcome:
    """How many times as many tokens per second one way makes as another."""
    ours, theirs = timings[name], timings[other]
    wall, cpu = ratio(theirs.wall, ours.wall), ratio(theirs.cpu, ours.cpu)
    return Outcome(f"speed of {name}", other, wall, cpu, gap, target)

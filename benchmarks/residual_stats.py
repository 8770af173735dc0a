"""Statistics of the residual stream, against two plain ways to the same means."""

from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.baselines import (
    CACHE,
    HF,
    HF_LEAN,
    Means,
    largest_gap,
    means_with_cache,
    means_with_hidden_states,
    padded,
)
from benchmarks.document import Outcome, Section, Target, compared
from benchmarks.setting import Setting, bridge, hugging_face, lens
from benchmarks.timing import Task, Timing, take_turns
from refusal_lens.prompts import PromptSet

OURS: Final = "`model.residual_stats`"
TARGETS: Final = {CACHE: Target(0.25), HF: None, HF_LEAN: None}


def tasks(source: str, prompts: PromptSet, ways: Sequence[str]) -> dict[str, Task]:
    """Some ways over the same prompts. Only ours renders and tokenises within its time."""
    model, hf, tl = lens(source), hugging_face(source), bridge(source)
    batches = padded(model, prompts, model.rows.most)

    def means() -> Means:
        return Means(prompts, model.chat.n_post)

    every: dict[str, Task] = {
        OURS: lambda: model.residual_stats(prompts).mean,
        CACHE: lambda: means_with_cache(tl, batches, means()),
        HF: lambda: means_with_hidden_states(hf, batches, means()),
        HF_LEAN: lambda: means_with_hidden_states(hf, batches, means(), lean=True),
    }
    return {way: every[way] for way in ways}


def outcomes_of(timings: Mapping[str, Timing], n: int) -> list[Outcome]:
    """Ours against each other way."""
    return [
        compared(
            f"statistics of {n} prompts",
            timings[OURS],
            (way, timing),
            gap=largest_gap(timings[OURS].result, timing.result),
            target=TARGETS[way],
        )
        for way, timing in timings.items()
        if way != OURS
    ]


def measure(setting: Setting) -> Section:
    """All layers, all post-instruction positions, both sides of every category."""
    model = lens(setting.source)
    few = PromptSet(setting.pairs(1).prompts[:8])
    for warm_up in tasks(setting.source, few, (OURS, *TARGETS)).values():
        warm_up()
    many, fewer = setting.pairs(setting.size(64, 2)), setting.pairs(setting.size(8, 1))
    timings = take_turns(tasks(setting.source, many, (OURS, CACHE)), setting.turns)
    others = take_turns(tasks(setting.source, fewer, (OURS, HF, HF_LEAN)), setting.turns)
    n = sum(map(len, model.ids(many)))
    n_padded = sum(batch.ids.numel() for batch in padded(model, many, model.rows.most))
    return Section(
        "Statistics",
        f"{OURS} of {model.name} (every block's input, all {model.chat.n_post} post-instruction "
        f"positions) over {len(many)} prompts of {len(many.categories)} categories, against "
        f"other ways to the same means (Hugging Face: over {len(fewer)} of them). Those pad to the "
        f"longest of a batch in the given order (batches of {model.rows.most}); rendering and "
        f"tokenising count only for ours. {setting.turns} turns.",
        [*outcomes_of(timings, len(many)), *outcomes_of(others, len(fewer))],
        timings,
        n,
        f"The {len(many)} prompts have {n} tokens with their template, {n_padded} padded; "
        f"{len(model.chat.prefix_ids)} of each prompt's {n / len(many):.0f} belong to the "
        "shared prefix, which ours computes once.",
    )

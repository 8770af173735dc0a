"""Benign prompts beside prompts that have no twin: drawn at random, each used once.

Published sets are mostly unpaired lists (AdvBench, HarmBench, OR-Bench, refusal_direction's). Two
random prompts of the two sides differ as any two of them do, and independently of the next two, so
that everything computed from pairs holds for such draws. What is lost is the closeness of a twin:
content is not held constant, and differences are noisier.
"""

import random
from dataclasses import replace
from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.prompts.prompt_set import LABELS, Label, Prompt, PromptSet

_DRAWN: Final = "drawn at random "


def is_drawn(prompt: Prompt) -> bool:
    """Whether a prompt's partner was drawn at random."""
    return prompt.pair is not None and prompt.pair.startswith(_DRAWN)


def drawn_note(prompts: PromptSet) -> str | None:
    """What a reader must know where pairs were drawn; None where none was."""
    drawn = sum(is_drawn(p) for p in prompts) // 2
    if not drawn:
        return None
    return (
        f"{drawn} pairs were drawn at random, because their prompts have no benign twin: the two "
        "sides of a pair differ in content too, differences are noisier, and nothing is patched "
        "between them"
    )


def draw_twins(prompts: PromptSet, seed: int = 0) -> PromptSet:
    """Give each refuse-side prompt without a twin a benign one of its category and split.

    A category without benign prompts draws from the categories that have nothing else: these are
    dealt out over the former, so that no prompt stands in two pairs, and lose their own name. What
    is left over on one side stays, without a pair.

    Raises:
        InputError: a category with a refuse side alone, and no benign category to draw from.
    """
    rng = random.Random(seed)
    whole, single = _partition_by_twin(prompts)
    sides = {(p.category, p.label) for p in prompts}
    needy = [c for c in prompts.categories if (c, "comply") not in sides]
    pool_of = {c for c in prompts.categories if (c, "refuse") not in sides}
    if needy and not pool_of:
        raise InputError(
            f"category {needy[0]!r} has no benign prompts; give some of the same category, or a "
            "category of benign prompts to draw from"
        )
    paired = [*whole]
    for split in prompts.splits:
        of_split = [p for p in single if p.split == split]
        if needy:
            of_split = _dealt(of_split, pool_of, needy, rng)
        for category in prompts.categories:
            refuse, comply = (_shuffled(of_split, category, label, rng) for label in LABELS)
            n = min(len(refuse), len(comply))
            for side in (refuse, comply):
                paired += [replace(p, pair=f"{_DRAWN}{split} {k}") for k, p in enumerate(side[:n])]
                paired += [replace(p, pair=None) for p in side[n:]]
    order = {key: i for i, key in enumerate(prompts.ids)}
    return PromptSet(tuple(sorted(paired, key=lambda p: order[p.id])))


def _partition_by_twin(prompts: PromptSet) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts whose twin is there, and those without one."""
    ids = {p.id for pair in prompts.pairs() for p in pair}
    return [p for p in prompts if p.id in ids], [p for p in prompts if p.id not in ids]


def _shuffled(
    prompts: list[Prompt], category: str, label: Label, rng: random.Random
) -> list[Prompt]:
    side = [p for p in prompts if p.category == category and p.label == label]
    rng.shuffle(side)
    return side


def _dealt(
    prompts: list[Prompt], pool_of: set[str], needy: list[str], rng: random.Random
) -> list[Prompt]:
    """The benign categories' prompts under the names of the categories that draw from them.

    Each gets a part in proportion to its refuse-side prompts.
    """
    pool = [p for p in prompts if p.category in pool_of]
    rng.shuffle(pool)
    names = (
        sorted((p.category for p in prompts if p.category in needy), key=needy.index) or needy[:1]
    )
    dealt = [replace(p, category=names[i * len(names) // len(pool)]) for i, p in enumerate(pool)]
    return [p for p in prompts if p.category not in pool_of] + dealt

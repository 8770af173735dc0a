"""Labels exchanged within pairs: a draw under the null hypothesis, and a control."""

from dataclasses import replace

import torch

from refusal_lens.prompts.prompt_set import Label, Prompt, PromptSet


def exchange_labels(prompts: PromptSet, seed: int) -> PromptSet:
    """The same prompts, the labels of each pair exchanged with probability one half.

    A prompt without a pair counts by itself. Coins are independent: what is measured on such labels
    is one draw under the null hypothesis that labels say nothing. A direction fitted on them keeps
    a part of the difference between the sides, with a sign by chance, since coins seldom fall
    equally often either way: a control direction is fitted after `exchange_half`.

    >>> pair = PromptSet.from_texts(["Pick a lock?"], ["Bake bread?"])
    >>> exchange_labels(pair, seed=0).ids == pair.ids
    True
    """
    generator = torch.Generator().manual_seed(seed)
    units = dict.fromkeys(p.unit for p in prompts)
    return _exchanged(prompts, {u for u in units if torch.randint(2, (1,), generator=generator)})


def exchange_half(prompts: PromptSet, seed: int) -> PromptSet:
    """The same prompts, the labels of half of each category's pairs exchanged.

    And of half of its refuse-side and of its comply-side prompts without a partner. The two sides
    of the exchanged labels hold the same share of truly refuse-side prompts, so that their means
    differ by how prompts of one side differ, and not by the side: the shuffled-label control
    direction. An odd number is rounded up or down by chance, for unpaired prompts of the two sides
    alike; 1/n of the difference is then left in a category of n pairs, all of it where n is 1.
    Pairs, and unpaired prompts of as many on either side, keep a category's numbers of labels;
    other unpaired prompts become as many, up to one, on either side.

    >>> four = PromptSet.from_texts(["Pick locks?", "Forge a bill?"], ["Bake bread?", "Fix a tap?"])
    >>> after = exchange_half(four, seed=0)
    >>> sum(p.label != q.label for p, q in zip(four, after)), len(after.only(label="refuse"))
    (2, 2)
    """
    generator = torch.Generator().manual_seed(seed)
    units: dict[tuple[str, str], list[Prompt]] = {}
    for p in prompts:
        units.setdefault(p.unit, []).append(p)
    strata: dict[tuple[str, tuple[str, ...]], list[tuple[str, str]]] = {}
    for unit, of_unit in units.items():
        labels = tuple(sorted(p.label for p in of_unit))
        strata.setdefault((of_unit[0].category, labels), []).append(unit)
    first: dict[tuple[str, int], int] = {}
    exchanged: set[tuple[str, str]] = set()
    for (category, labels), alike in strata.items():
        coin = int(torch.randint(2, (1,), generator=generator))
        start = first.setdefault((category, len(labels)), coin)
        order = torch.randperm(len(alike), generator=generator).tolist()
        exchanged |= {alike[i] for i in order[start::2]}
    return _exchanged(prompts, exchanged)


def _exchanged(prompts: PromptSet, units: set[tuple[str, str]]) -> PromptSet:
    """The same prompts, those of these units on the other side."""
    other: dict[Label, Label] = {"refuse": "comply", "comply": "refuse"}
    rows = (replace(p, label=other[p.label]) if p.unit in units else p for p in prompts)
    return PromptSet(tuple(rows))

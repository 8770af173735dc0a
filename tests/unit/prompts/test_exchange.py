"""Labels exchanged: half of each category for a control direction, by coins for a null."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from support.paired_residuals import prompts_of

from refusal_lens.prompts import PromptSet
from refusal_lens.prompts.exchange import exchange_half, exchange_labels

WIDTH = 48
CATEGORIES = ("red", "blue")


def asked(n: int, paired: bool) -> PromptSet:
    prompts = prompts_of(n, CATEGORIES)
    return prompts if paired else PromptSet(tuple(replace(p, pair=None) for p in prompts))


def rms_cosine(
    prompts: PromptSet, exchange: Callable[[PromptSet, int], PromptSet], draws: int = 60
) -> float:
    """Of the mean difference of exchanged labels to the direction planted along axis 0."""
    x = torch.randn(len(prompts), WIDTH, generator=torch.Generator().manual_seed(0))
    x[[p.label == "refuse" for p in prompts], 0] += 5.0
    cosines: list[float] = []
    for seed in range(draws):
        turned = exchange(prompts, seed)
        total = torch.zeros(WIDTH)
        for category in prompts.categories:
            refuse, comply = (
                [(p.category, p.label) == (category, side) for p in turned]
                for side in ("refuse", "comply")
            )
            total += x[refuse].mean(0) - x[comply].mean(0)
        cosines.append(float(total[0] / total.norm()))
    return float(torch.tensor(cosines).square().mean().sqrt())


@pytest.mark.parametrize("paired", [True, False], ids=["pairs", "unpaired"])
def test_half_exchanged_labels_hold_no_more_of_the_direction_than_chance(paired: bool) -> None:
    prompts = asked(24, paired)
    by_half, by_coins = (rms_cosine(prompts, e) for e in (exchange_half, exchange_labels))
    assert by_coins > 0.3
    assert by_half < 1.5 / WIDTH**0.5  # a random direction's is 1 / sqrt(width)


@pytest.mark.parametrize("n", [1, 8, 9])
@pytest.mark.parametrize("paired", [True, False], ids=["pairs", "unpaired"])
def test_half_of_each_category_is_exchanged_and_its_numbers_of_labels_stay(
    n: int, paired: bool
) -> None:
    prompts = asked(n, paired)
    counts = Counter((p.category, p.label) for p in prompts)
    rounded: set[int] = set()
    for seed in range(12):
        turned = exchange_half(prompts, seed)
        assert turned.ids == prompts.ids
        assert Counter((p.category, p.label) for p in turned) == counts
        moved = {p.id for p, q in zip(prompts, turned, strict=True) if p.label != q.label}
        assert all((a.id in moved) == (b.id in moved) for a, b in prompts.pairs())
        for side in ("refuse", "comply"):
            for category in CATEGORIES:
                of_side = prompts.only(category=category, label=side).ids
                rounded.add(len(moved.intersection(of_side)))
    assert rounded == {n // 2, (n + 1) // 2}  # an odd number up and down


def test_sides_of_exchanged_labels_hold_the_same_share_where_pairs_and_lone_prompts_mix() -> None:
    """8 pairs and 6 refuse-side prompts alone: as many on both sides, each 7 of 11 truly refuse."""
    prompts = prompts_of(14, ("red",))
    dropped = {p.id for p in prompts.only(label="comply").prompts[8:]}
    mixed = PromptSet(tuple(p for p in prompts if p.id not in dropped))
    for seed in range(5):
        turned = exchange_half(mixed, seed)
        truth = {p.id: p.label for p in mixed}
        by_side = Counter((p.label, truth[p.id]) for p in turned)
        assert by_side["refuse", "refuse"] == by_side["comply", "refuse"] == 7
        assert by_side["refuse", "comply"] == by_side["comply", "comply"] == 4
        assert turned == exchange_half(mixed, seed) != exchange_half(mixed, seed + 1)

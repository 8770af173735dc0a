"""Benign prompts drawn for prompts without a twin."""

from collections import Counter

import pytest

from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.pairing import draw_twins, drawn_note, is_drawn
from refusal_lens.residuals import pair_rows


def side(category: str, label: str, n: int, split: str = "train") -> list[Prompt]:
    return [
        Prompt(f"{category}-{split}-{label}-{i}", f"{label} {i}", category, label, split, "t")  # pyright: ignore
        for i in range(n)
    ]


def pairs_in(prompts: PromptSet) -> Counter[str]:
    rows = list(prompts)
    both = [(rows[a], rows[b]) for a, b in pair_rows(prompts).tolist()]
    assert all(a.split == b.split and a.category == b.category for a, b in both)
    return Counter(a.category for a, _ in both)


def test_whole_pairs_stay_as_they_are() -> None:
    prompts = PromptSet(
        (
            Prompt("a", "no", "x", "refuse", "train", "t", pair="1"),
            Prompt("b", "yes", "x", "comply", "train", "t", pair="1"),
        )
    )
    paired = draw_twins(prompts)
    assert (paired, drawn_note(paired)) == (prompts, None)


def test_each_prompt_is_drawn_once_within_category_and_split() -> None:
    lists = [
        side(c, s, n, p)
        for c, s, n, p in (
            ("x", "refuse", 5, "train"),
            ("x", "comply", 8, "train"),
            ("x", "refuse", 2, "test"),
            ("x", "comply", 2, "test"),
            ("y", "refuse", 4, "train"),
            ("y", "comply", 3, "train"),
        )
    ]
    prompts = PromptSet(tuple(p for side_prompts in lists for p in side_prompts))
    paired = draw_twins(prompts, seed=3)
    assert paired.ids == prompts.ids  # in the same order, none lost
    assert pairs_in(paired) == {"x": 7, "y": 3}
    assert sum(map(is_drawn, paired)) == 2 * (5 + 2 + 3)
    assert str(drawn_note(paired)).startswith("10 pairs")
    assert draw_twins(prompts, seed=3) == paired != draw_twins(prompts, 4)


def test_partners_are_random_and_not_in_file_order() -> None:
    prompts = PromptSet((*side("x", "refuse", 40), *side("x", "comply", 40)))
    rows = list(draw_twins(prompts))
    same = sum(
        rows[a].text[7:] == rows[b].text[7:] for a, b in pair_rows(PromptSet(tuple(rows))).tolist()
    )
    assert same < 8


def test_a_benign_category_is_dealt_out() -> None:
    """AdvBench-like categories beside one list of harmless prompts."""
    prompts = PromptSet((*side("a", "refuse", 6), *side("b", "refuse", 2), *side("h", "comply", 9)))
    paired = draw_twins(prompts)
    assert paired.categories == ("a", "b")
    assert pairs_in(paired) == {"a": 6, "b": 2}
    assert Counter(p.category for p in paired if p.label == "comply") == {"a": 7, "b": 2}
    scarce = draw_twins(PromptSet((*prompts.prompts[:8], *side("h", "comply", 4))))
    assert pairs_in(scarce) == {"a": 3, "b": 1}


def test_half_a_pair_is_no_pair() -> None:
    lone = Prompt("a", "no", "x", "refuse", "train", "t", pair="1")
    paired = draw_twins(PromptSet((lone, *side("x", "comply", 1))))
    assert pairs_in(paired) == {"x": 1}


def test_a_refuse_side_alone_is_told() -> None:
    with pytest.raises(InputError, match="'x' has no benign prompts"):
        draw_twins(PromptSet(tuple(side("x", "refuse", 3))))

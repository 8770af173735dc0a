"""Prompts that say the same are dealt into one split, and tables have all of a column or none."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from refusal_lens.errors import InputError
from refusal_lens.monitor.fit import _dealt
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.dataframes import _missing
from refusal_lens.prompts.files import load_lists
from refusal_lens.prompts.repeats import check_splits_apart
from refusal_lens.study import Study
from refusal_lens.study.prompts import study_prompts


def splits_of(prompts: PromptSet) -> dict[str, set[str]]:
    """The splits in which each text stands."""
    splits: dict[str, set[str]] = defaultdict(set)
    for p in prompts:
        splits[p.text.strip()].add(p.split)
    return splits


@pytest.mark.parametrize("seed", range(5))
def test_a_repeated_text_stands_in_one_split(seed: int, tmp_path: Path) -> None:
    refuse, comply = [f"harm {i}" for i in range(10)] * 2, [f"ok {i}" for i in range(20)]
    prompts = PromptSet.from_texts([*refuse, " harm 3 ", "ok 4"], comply, seed=seed)
    assert {len(splits) for splits in splits_of(prompts).values()} == {1}
    counts = [sum(p.split == s for p in prompts) for s in ("train", "val", "test")]
    assert sum(counts) == 42 and counts[0] > counts[2] > 0
    check_splits_apart(prompts)
    for name, texts in (("refuse.txt", refuse), ("comply.txt", comply)):
        (tmp_path / name).write_text("\n".join(texts))
    lists = load_lists(tmp_path / "refuse.txt", tmp_path / "comply.txt", seed=seed)
    assert {len(splits) for splits in splits_of(lists).values()} == {1}


def test_pairs_with_a_common_twin_stay_together_through_others() -> None:
    """A chain: pair 0 shares its benign text with 1, whose harmful text is 2's, and so on."""
    prompts: list[Prompt] = []
    for i in range(40):
        chained = i < 6
        refuse = f"harm {(i + 1) // 2}" if chained else f"harm of {i}"
        comply = f"ok {i // 2}" if chained else f"ok of {i}"
        for label, text in (("refuse", refuse), ("comply", comply)):
            key, category = f"{i} {label}", "red" if i % 3 else "blue"
            prompts.append(Prompt(key, text, category, label, "train", "t", pair=str(i)))  # pyright: ignore[reportArgumentType]
    for seed in range(5):
        dealt = PromptSet(tuple(prompts)).resplit(seed=seed)
        assert {len(splits) for splits in splits_of(dealt).values()} == {1}
        assert all(a.split == b.split for a, b in dealt.pairs())
        assert len({p.split for p in dealt.prompts[:12]}) == 1


def test_turns_before_are_part_of_what_a_prompt_says() -> None:
    spoken = [[{"role": "system", "content": x}, {"role": "user", "content": "a?"}] for x in "abcd"]
    prompts = PromptSet.from_texts(spoken, ["b?"]).resplit({"train": 0.5, "test": 0.5})
    assert {p.split for p in prompts if p.text == "a?"} == {"train", "test"}
    check_splits_apart(prompts)


def test_a_text_in_two_given_splits_is_refused(tmp_path: Path) -> None:
    splits = ("train", "val", "test")
    rows = [(label, s, i) for label in ("refuse", "comply") for s in splits for i in range(4)]
    prompts = PromptSet(
        tuple(Prompt(f"{x} {s} {i}", f"{x} {s} {i}?", "c", x, s, "t") for x, s, i in rows)  # pyright: ignore[reportArgumentType]
    )
    copy = replace(prompts.prompts[0], id="copy", split="val")
    words = r"prompt 'copy' of split 'val' says the same as prompt 'refuse train 0' of split 'train"
    for given, fine in ((prompts, True), (prompts + PromptSet((copy,)), False)):
        given.save(tmp_path / "prompts.jsonl")
        study = Study("smollm2", prompts=str(tmp_path / "prompts.jsonl"))
        for use in (lambda study=study: study_prompts(study), lambda given=given: _dealt(given)):
            if fine:
                use()
                continue
            with pytest.raises(InputError, match=words) as caught:
                use()
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["split", "category"])
def test_a_partly_filled_column_is_refused(field: str) -> None:
    table: dict[str, Any] = {"text": ["a", "b", "c"], "label": ["refuse", "comply", "refuse"]}
    with pytest.raises(InputError, match=f"row 3 of the table has no {field}, as 1 of 3; give"):
        PromptSet.from_dataframe(table | {field: ["x", "y", None]})
    assert len(PromptSet.from_dataframe(table | {field: [None] * 3})) == 3


def test_missing_values_of_converted_frames_are_missing() -> None:
    frame = pd.DataFrame(
        {"text": ["a", "b", "c"], "label": ["refuse", "comply", "comply"], "pair": ["p", "p", None]}
    ).convert_dtypes()
    assert frame["pair"][2] is pd.NA
    assert [p.pair for p in PromptSet.from_dataframe(frame)] == ["p", "p", None]


def paired_set(n: int, benign: Any) -> PromptSet:
    rows = [(label, i) for i in range(n) for label in ("refuse", "comply")]
    texts = {"refuse": lambda i: f"harm {i}", "comply": benign}
    return PromptSet(
        tuple(
            Prompt(f"{x} {i}", texts[x](i), f"c{i % 4}", x, "train", "t", pair=str(i))  # pyright: ignore[reportArgumentType]
            for x, i in rows
        )
    )


@pytest.mark.parametrize("benign", [lambda i: "hello", lambda i: f"hello {i % 4}"])
def test_a_text_that_leaves_a_split_without_prompts_is_refused(benign: Any) -> None:
    with pytest.raises(InputError) as caught:
        paired_set(20, benign).resplit()
    text = benign(0)
    share = sum(benign(i) == text for i in range(20))
    assert f"split 'val': {share} of 20 pairs or unpaired prompts share the text" in str(
        caught.value
    )
    assert repr(text) in str(caught.value) and "\n" not in str(caught.value)
    assert set(paired_set(20, str).resplit().splits) == {"train", "val", "test"}
    # Too few to be in every split, repeats or not.
    assert PromptSet.from_texts(["a"], ["a"]).splits == ("train",)


@pytest.mark.parametrize("seed", range(8))
def test_shares_hold_where_a_joined_unit_is_larger_than_most(seed: int) -> None:
    prompts = paired_set(80, lambda i: "hello" if i % 4 == 0 and i < 40 else f"ok {i}")
    dealt = prompts.resplit(seed=seed)
    counts = {s: sum(p.split == s for p in dealt) for s in ("train", "val", "test")}
    assert counts == pytest.approx({"train": 96, "val": 24, "test": 40}, abs=8)
    assert {len(splits) for splits in splits_of(dealt).values()} == {1}


def test_a_study_may_have_further_splits_that_repeat_its_own(tmp_path: Path) -> None:
    splits = ("train", "val", "test")
    rows = [(label, s, i) for label in ("refuse", "comply") for s in splits for i in range(4)]
    prompts = PromptSet(
        tuple(Prompt(f"{x} {s} {i}", f"{x} {s} {i}?", "c", x, s, "t") for x, s, i in rows)  # pyright: ignore[reportArgumentType]
    )
    again = replace(prompts.prompts[0], id="copy", split="debug")
    (prompts + PromptSet((again,))).save(tmp_path / "prompts.jsonl")
    study = Study("smollm2", prompts=str(tmp_path / "prompts.jsonl"))
    assert "debug" in study_prompts(study).splits


@pytest.mark.parametrize(
    "column", [[True, False], [*np.array([True, False])], pd.Series([True, False])]
)
def test_a_column_of_booleans_is_whole(column: Any) -> None:
    table = {"text": ["Pick a lock?", "Bake bread?"], "label": column}
    frame = pd.DataFrame(table) if isinstance(column, pd.Series) else table
    made = PromptSet.from_dataframe(frame, labels={True: "refuse", False: "comply"})
    assert [p.label for p in made] == ["refuse", "comply"]
    assert not any(map(_missing, (False, True, np.False_, np.True_, 0, "", 1.5)))
    assert _missing(None) and _missing(float("nan")) and _missing(pd.NA)

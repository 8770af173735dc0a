"""What a monitor is fitted, calibrated and tried on: enough, whatever the categories and pairs."""

from collections.abc import Sequence

import pytest

from refusal_lens.errors import InputError
from refusal_lens.monitor.detectors import LEAST
from refusal_lens.prompts import PromptSet, load_prompts
from refusal_lens.prompts.files import load_lists
from refusal_lens.study import Sizes, Study
from refusal_lens.study.outline import Outline, Shape
from refusal_lens.study.stages.monitor import STAGES, _fitting, _tested


def outline(prompts: PromptSet, **sizes) -> Outline:
    return Outline(Study(sizes=Sizes.default(**sizes)), prompts, Shape(2, 8, 2))


def counts(prompts: PromptSet) -> Sequence[int]:
    """Refuse-side and all prompts of `train`, and all of `val`."""
    train = prompts.only(split="train")
    return len(train.only(label="refuse")), len(train), len(prompts.only(split="val"))


@pytest.fixture
def lists(tmp_path) -> PromptSet:
    """Five hundred lines a side, with no pairs."""
    for side in ("refuse", "comply"):
        (tmp_path / side).write_text("\n".join(f"{side} {i}" for i in range(500)))
    return load_lists(tmp_path / "refuse", tmp_path / "comply")


def test_of_all_categories_it_takes_as_many_pairs_of_each_as_are_asked_for():
    assert counts(_fitting(outline(load_prompts()))) == (110, 220, 220)


def test_two_lists_and_few_categories_give_enough_or_all_there_is(lists):
    refuse, train, val = counts(_fitting(outline(lists)))
    assert (refuse, train) == (110, 220) and val >= 39
    two = load_prompts().only(category=("advice", "humanizing"))
    assert counts(_fitting(outline(two))) == (64, 128, 64)
    refuse, *_, val = counts(_fitting(outline(two.only(category="advice"))))
    assert refuse == 32 > LEAST and val == 32


def test_each_wording_is_planned_for_once():
    """So that what the plan counts is what is read."""
    sides = [f"harm {i % 40}" for i in range(120)], [f"ok {i % 40}" for i in range(120)]
    prompts = PromptSet.from_texts(*sides)
    for chosen in (_fitting(outline(prompts)), _tested(outline(prompts, monitor_test_pairs=8))):
        assert len({p.text for p in chosen}) == len(chosen) >= 10


def test_a_lower_rate_takes_more_to_calibrate(lists):
    chosen = outline(lists, monitor_alpha=0.0155, monitor_calibration_pairs=1)
    assert counts(_fitting(chosen))[2] >= 129  # 2 / .0155 - 1 = 128.03


def test_a_rate_that_is_none_is_one_line_in_the_plan(lists):
    with pytest.raises(InputError, match=r"rate of 0(\.0)?; give a number between 0 and 1"):
        STAGES[0].work_in(outline(lists, monitor_alpha=0.0))


def test_prompts_without_pairs_are_tested_on_either_side(lists):
    tested = _tested(outline(lists, monitor_test_pairs=20))
    sides = [p.label for p in tested]
    assert set(tested.splits) == {"test"} and sides == ["refuse"] * 20 + ["comply"] * 20
    assert STAGES[1].work_in(outline(lists)).tokens > 0
    paired = _tested(outline(load_prompts(), monitor_test_pairs=20))
    assert len(paired.pairs()) == 20

"""The prompts of a study: read, restricted, split, and paired."""

from dataclasses import replace
from typing import Final

from refusal_lens.errors import InputError
from refusal_lens.prompts import Prompt, PromptSet
from refusal_lens.prompts.files import load_lists, load_prompts
from refusal_lens.prompts.pairing import draw_twins
from refusal_lens.prompts.repeats import check_splits_apart
from refusal_lens.study.question import Study

_READ: Final = ("train", "val", "test")
_ADAPT: Final = "adapt"  # the split that trained the planted model's adapter


def study_prompts(study: Study) -> PromptSet:
    """What a study asks its model; benign prompts are drawn for prompts without a twin.

    >>> study = rl.Study("smollm2-planted", categories=("advice",))
    >>> study_prompts(study).categories
    ('advice',)

    Raises:
        InputError: wrong files, one list without the other, an unknown category, a split or a
            side that is missing, or a text that stands in two splits.
    """
    prompts = _read(study)
    if study.categories is not None:
        prompts = prompts.only(category=study.categories)
    for split in _READ:
        if split not in prompts.splits:
            raise InputError(
                f"the prompts have no split {split!r} (found {list(prompts.splits)}); a study fits "
                "on `train`, chooses on `val` and reports on `test`: PromptSet.resplit deals a set "
                "out over the three"
            )
    prompts = draw_twins(prompts, study.seed)
    if study.embedded is not None and study.embedded.planting is not None:
        # What trained the adapter is never used to fit or to test.
        prompts = prompts.only(split=[s for s in prompts.splits if s != _ADAPT])
    else:  # to another model they are further prompts to fit on, behind those of `train`
        ordered = _train_first(prompts)
        prompts = PromptSet(
            tuple(replace(p, split="train") if p.split == _ADAPT else p for p in ordered)
        )
    check_splits_apart(prompts.only(split=_READ))
    return prompts


def _read(study: Study) -> PromptSet:
    if study.refuse is None and study.comply is None:
        return load_prompts(study.prompts)
    if study.refuse is None or study.comply is None or study.prompts is not None:
        raise InputError(
            "a study takes both a list to refuse and a list to answer (--refuse, --comply), or "
            "prompts with their labels (--prompts)"
        )
    return load_lists(study.refuse, study.comply, seed=study.seed)


def _train_first(prompts: PromptSet) -> list[Prompt]:
    return sorted(prompts, key=lambda p: p.split == _ADAPT)

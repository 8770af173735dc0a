"""Refusal rates over several languages at once: a pair and its translations are one."""

from support.paired_residuals import PROVENANCE
from support.parallel_residuals import parallel_prompts

from refusal_lens.evaluation import UNEDITED, Answers
from refusal_lens.intervals import wilson
from refusal_lens.judges import Verdict
from refusal_lens.languages import ablation_transfer
from refusal_lens.languages.ablation import RANDOM
from refusal_lens.prompts import PromptSet

LANGUAGES = ("a", "b", "c", "d")
PROMPTS = parallel_prompts(LANGUAGES, n=8).only(label="refuse")


def answered(prompts: PromptSet, outcomes: list[str]) -> Answers:
    """Under a's direction as given; unedited, and under the random one, all are refused."""
    conditions, n = (UNEDITED, "a", RANDOM), len(prompts)
    rows = ["refused"] * n, outcomes, ["refused"] * n
    return Answers(
        conditions=conditions,
        edits=conditions,
        decoding="greedy",
        ids=prompts.ids,
        texts=tuple(p.text for p in prompts),
        categories=tuple(p.category for p in prompts),
        labels=tuple(p.label for p in prompts),
        answers=(("",) * n,) * 3,
        senseless=None,
        provenance=PROVENANCE,
        judged_by="by hand",
        readings=tuple(tuple(Verdict(outcome, None, ()) for outcome in row) for row in rows),
    )


def test_translations_of_a_pair_are_resampled_together():
    """Two of eight pairs are refused, each in every language."""
    outcomes = ["refused" if p.pair in ("p0", "p1") else "complied" for p in PROMPTS]
    pooled = ablation_transfer(answered(PROMPTS, outcomes), PROMPTS, layer=2).pooled[0]
    alone = wilson(6, 24)
    assert (pooled.value, pooled.n, pooled.control) == (0.25, 24, 1.0)
    assert pooled.high - pooled.low > 1.2 * (alone.high - alone.low)


def test_without_any_refusal_the_interval_is_that_of_so_many_pairs():
    outcomes = ["complied"] * len(PROMPTS)
    pooled = ablation_transfer(answered(PROMPTS, outcomes), PROMPTS, layer=2).pooled[0]
    assert (pooled.low, pooled.high) == (0.0, wilson(0, 8).high)


def test_unclear_answers_are_left_out_and_counted():
    outcomes = ["unclear" if p.pair == "p0" else "complied" for p in PROMPTS]
    pooled = ablation_transfer(answered(PROMPTS, outcomes), PROMPTS, layer=2).pooled[0]
    assert (pooled.n, pooled.missing) == (21, 3)


def test_a_direction_of_the_only_refused_language_has_no_rate_elsewhere():
    only = PROMPTS.only(category="a")
    pooled = ablation_transfer(answered(only, ["complied"] * 8), PROMPTS, layer=2).pooled[0]
    assert (pooled.value, pooled.n) == (None, 0)

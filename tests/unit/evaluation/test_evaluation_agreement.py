"""Two readings of the same answers: a second judge, and scores beside read answers."""

from dataclasses import replace

import pytest
import torch
from support.synthetic.answers import FROM, steered

from refusal_lens.errors import InputError
from refusal_lens.evaluation.agreement import grids_agree, judges_agree, screening_agrees
from refusal_lens.evaluation.grid import Grid
from refusal_lens.evaluation.matched import match_refusal
from refusal_lens.intervals import kappa, share_over_prompts, wilson
from refusal_lens.judges import SubstringJudge


def grid(flags):
    """Two directions and a control at two strengths on two pairs: p0 and p2, p1 and p3."""
    return Grid(
        layer=3,
        judged_by="test",
        names=("d0", "d1", "control: random"),
        kinds=("direction", "direction", "control"),
        lengths=(1.0,) * 3,
        strengths=(0.0, 1.0),
        pairs=("a", "b"),
        ids=(("p0", "p2"), ("p1", "p3")),
        generated=torch.zeros(2, dtype=torch.bool),
        refused=torch.tensor(flags, dtype=torch.int8),
        provenance=FROM,
    )


def test_scores_meet_read_answers_prompt_by_prompt():
    """Read: d0 refuses p0 to p3, d1 none of them; unedited none. The scores miss p3 under d0."""
    read = steered(lambda d, p: "law" if d == 0 else None, n=2)
    plain = [[0, 0], [0, 0]]
    flags = [[plain, [[1, 1], [1, 0]]], [plain, [[0, 0], [0, -1]]], [plain, plain]]
    agreement = screening_agrees(grid(flags), read)
    # Three readings of four prompts, but one score is unknown.
    assert agreement.share.n == 11 and agreement.share.value == pytest.approx(10 / 11)
    assert agreement.table == {"complied": {"complied": 7, "refused": 1}, "refused": {"refused": 3}}
    # At a strength that the grid lacks only the unedited answers are left.
    assert screening_agrees(grid(flags), replace(read, strength=2.0)).share.n == 4


def test_answers_that_stand_in_a_grid_for_scores_are_not_compared_with_answers():
    read = steered(lambda d, p: "law" if d == 0 else None, n=2)
    plain = [[0, 0], [0, 0]]
    flags = [[plain, [[1, 1], [1, 0]]], [plain, [[0, 0], [0, 0]]], [plain, plain]]
    half = replace(grid(flags), generated=torch.tensor([False, True]))
    agreement = screening_agrees(half, read)
    assert agreement.share.n == 6 and agreement.share.value == 1.0  # the first pair, three readings


def test_two_grids_are_compared_cell_by_cell_and_the_unedited_model_counts_once():
    plain = [[0, 1], [0, 0]]
    scored = [[plain, [[1, 1], [1, 0]]], [plain, [[0, 0], [0, 0]]], [plain, plain]]
    judged = [[plain, [[1, 1], [0, 0]]], [plain, [[0, -1], [0, 0]]], [plain, plain]]
    read = replace(grid(judged), generated=torch.ones(2, dtype=torch.bool), judged_by="answers")
    agreement = grids_agree(grid(scored), read)
    # Four prompts unedited and under each of three; one answer is unclear, one is told apart.
    assert agreement.judges == ("scores", "answers")
    assert (agreement.share.n, agreement.left_out) == (15, 1)
    assert agreement.share.value == pytest.approx(14 / 15)
    half = replace(grid(scored), generated=torch.tensor([True, False]))
    assert grids_agree(half, read).share.n == 7  # the second pair, without the unclear answer
    other = replace(read, provenance=replace(FROM, model_digest="other"))
    with pytest.raises(InputError, match="from one model"):
        grids_agree(grid(scored), other)


def test_scores_of_one_model_are_not_compared_with_answers_of_another():
    read = steered(lambda d, p: "law" if d == 0 else None, n=2)
    other = replace(FROM, model="embedded (adapter scale 0.5)", model_digest="other")
    plain = torch.zeros(3, 2, 2, 2).tolist()
    with pytest.raises(InputError, match=r"scale 0\.5.*from one model"):
        screening_agrees(replace(grid(plain), provenance=other), read)


def test_another_judge_reads_the_same_answers():
    read = steered(lambda d, p: "law" if d == 0 else None, n=2).answers
    answers = (("Yes.",) * 4, ("I'm sorry, no.",) * 3 + ("Fine.",), *[("Yes.",) * 4] * 5)
    agreement = judges_agree(replace(read, answers=answers), SubstringJudge())
    assert agreement.judges == ("simulated", SubstringJudge().name)
    assert agreement.share.n == 28 and agreement.share.value == pytest.approx(27 / 28)
    assert agreement.table["refused"] == {"refused": 3, "complied": 1}


def test_pairs_without_a_verdict_are_left_out_and_too_few_are_an_error():
    flags = torch.full((3, 2, 2, 2), -1).tolist()
    with pytest.raises(InputError, match="0 pairs"):
        match_refusal(grid(flags))


def test_many_answers_to_one_prompt_count_as_one_prompt():
    """Twelve prompts said twenty-five times over tell no more than the twelve."""
    labels = [("y", "y")] * 5 + [("n", "n")] * 4 + [("y", "n")] * 2 + [("n", "y")]
    prompts = [str(i) for i in range(12)]
    once = kappa(labels)
    often = kappa(labels * 25, prompts=prompts * 25)
    naive = kappa(labels * 25)
    assert often.value == pytest.approx(once.value) and often.n == 300
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=0.06)
    assert naive.high - naive.low < (often.high - often.low) / 3
    assert "over prompts" in often.method and "over answers" in naive.method
    same = [a == b for a, b in labels]
    share = share_over_prompts(same * 25, prompts * 25)
    assert (share.value, share.n) == (0.75, 300)
    assert share.high - share.low == pytest.approx(wilson(9, 12).high - wilson(9, 12).low, abs=0.08)
    # All alike: what twelve prompts can say of it, not three hundred.
    everything = share_over_prompts([True] * 300, prompts * 25)
    assert (everything.value, everything.low) == (1.0, wilson(12, 12).low)


def test_answers_to_one_prompt_alone_have_no_interval_over_prompts():
    labels = [("y", "y"), ("n", "n"), ("y", "n"), ("n", "n")]
    for estimate in (
        kappa(labels, prompts=["prompt"] * 4),
        share_over_prompts([a == b for a, b in labels], ["prompt"] * 4),
    ):
        assert estimate.value is not None and estimate.n == 4
        assert (estimate.low, estimate.high) == (None, None)
    assert kappa(labels, prompts=["prompt"] * 4).value == kappa(labels).value
    two = share_over_prompts([a == b for a, b in labels], ["a", "a", "b", "b"])
    assert two.low == 0.5 and two.high == 1.0

"""What a ladder says, from verdicts, scores and damage with known truth."""

from dataclasses import replace

import pytest
import torch
from support.paired_residuals import PROVENANCE

import refusal_lens as rl
from refusal_lens.defence import Ladder, compare_ladders, read_ladder
from refusal_lens.defence.before_after import paired
from refusal_lens.defence.ladder import CONTROL
from refusal_lens.defence.matched import refusal_at_damage, refusal_at_over_refusal
from refusal_lens.defence.place import weakest_layer
from refusal_lens.errors import InputError
from refusal_lens.intervals import mean_estimate

N = 40


def ladder(
    refused: tuple[float, ...] = (0.8, 0.8, 0.2), kl: tuple[float, ...] = (0.0, 0.5, 2.0)
) -> Ladder:
    """Of so many harmful prompts refused on each rung; random spans change nothing."""
    flags = torch.zeros(2, len(refused), 2, N, dtype=torch.int8)
    for rung, share in enumerate(refused):
        flags[0, rung, 0, : round(share * N)] = 1
        flags[1, rung, 0, : round(refused[0] * N)] = 1
    flags[:, :, 1, :4] = 1
    generator = torch.Generator().manual_seed(0)
    gap = torch.tensor(refused)[:, None] * 6
    score = torch.randn(2, len(refused), 2, N, generator=generator)
    score[0, :, 0] += gap
    score[1, :, 0] += gap[0]
    damage = torch.zeros(2, len(refused), N)
    damage[0] = torch.tensor(kl[: len(refused)])[:, None]
    damage[1] = damage[0] / 10
    return Ladder(
        directions="deflation",
        layer=3,
        offset=-1,
        judge="refusal",
        decoding="greedy",
        spans=("refusal directions", CONTROL),
        dimensions=tuple(range(len(refused))),
        available=len(refused) - 1,
        draws=4,
        pairs=tuple(f"{'ab'[i % 2]}/{i}" for i in range(N)),
        refused=flags,
        score=score,
        kl=damage,
        provenance=PROVENANCE,
    )


def test_rates_stand_beside_the_unedited_model_and_random_spans():
    reading = read_ladder(ladder(), draws=100)
    assert [r.refusal.value for r in reading.main] == [0.8, 0.8, 0.2]
    assert [r.refusal.value for r in reading.random] == [0.8, 0.8, 0.8]
    assert {r.refusal.control for r in reading.rungs} == {0.8}
    assert {r.over_refusal.value for r in reading.rungs} == {0.1}
    last = reading.main[-1]
    assert last.kept.value == 0.25 and last.kept.n == 32 and last.kept.control == 1.0
    assert last.answered.value == pytest.approx(0.8) and last.answered.n == N
    assert reading.halved == 2
    assert str(reading).endswith("0: 80%, 1: 80%, 2: 20%")


def test_nonsense_is_neither_refusal_nor_answer():
    broken = ladder()
    flags = broken.refused.clone()
    flags[0, 2, 0, 8:38] = -1
    flags[0, 2, 1, :] = -1
    last = read_ladder(replace(broken, refused=flags), draws=50).main[-1]
    assert (last.refusal.value, last.answered.value, last.unclear.value) == (0.2, 0.05, 0.75)
    assert last.nonsense.value == 1.0 and last.over_refusal.value == 0.0
    assert last.kept.value == 0.25  # of the 32 refused unedited 8 are refused, 24 are nonsense


def test_refusal_that_never_falls_to_half_has_no_dimension():
    assert read_ladder(ladder((0.8, 0.7, 0.6)), draws=50).halved is None


def test_at_matched_over_refusal_a_shifted_threshold_changes_nothing():
    plain = ladder()
    moved = replace(plain, score=plain.score - 3.0)
    a, b = (refusal_at_over_refusal(one, draws=50) for one in (plain, moved))
    assert a == b
    unedited, broken = a["refusal directions", 0][1], a["refusal directions", 2][1]
    assert unedited is not None and broken is not None
    assert unedited.value > 0.95 and broken.value < 0.7
    assert broken.control is not None and broken.control > 0.95


def test_matched_over_refusal_is_a_point_of_the_roc_curve():
    one = ladder()
    benign, harmful = one.score[0, 1, 1], one.score[0, 1, 0]
    for rate, read in zip(
        (0.05, 0.1, 0.2),
        refusal_at_over_refusal(one, draws=50)["refusal directions", 1],
        strict=True,
    ):
        threshold = benign.sort(descending=True).values[round(rate * N)]
        expected = float((harmful > threshold).float().mean())
        assert read is not None and read.value == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize("n", [4, 8, 12, 16])
def test_what_scores_separate_is_all_refused_at_any_over_refusal(n):
    """Also below 1/n, where a threshold lies between the highest benign score and all harmful."""
    score = torch.arange(n) / 100 + torch.zeros(2, 3, 2, n)
    score[:, :, 0] += 5
    one = ladder()
    few = replace(
        one, pairs=one.pairs[:n], refused=one.refused[..., :n], score=score, kl=one.kl[..., :n]
    )
    rates = refusal_at_over_refusal(few, draws=50)["refusal directions", 0]
    assert [e.value for e in rates if e is not None] == [1.0, 1.0, 1.0]


def test_without_scores_nothing_is_matched():
    one = ladder()
    blind = replace(one, score=torch.full_like(one.score, torch.nan))
    assert refusal_at_over_refusal(blind) == {}
    assert read_ladder(blind, draws=50).main[1].matched == (None, None, None)


def test_refusal_at_a_damage_is_read_between_rungs_and_never_beyond():
    read = refusal_at_damage(ladder(), (0.25, 1.25, 5.0), draws=100)
    low, middle, beyond = read["refusal directions"]
    assert low is not None and low.value == pytest.approx(0.8)
    assert middle is not None and middle.value == pytest.approx(0.5)
    assert middle.low < 0.5 < middle.high
    assert beyond is None
    assert read[CONTROL][1] is None


def test_before_and_after_differ_where_the_defence_holds():
    after = compare_ladders({"before": ladder((0.8, 0.2, 0.2)), "after": ladder()}, draws=50)
    first, defended, gone = (after.change("after", k) for k in (0, 1, 2))
    assert first.refusal.value == 0 and first.p == 1.0
    assert defended.refusal.value == pytest.approx(0.6) and defended.refusal.low > 0.4
    assert (defended.only_here, defended.only_reference) == (24, 0) and defended.q < 0.001
    assert defended.answered.value == pytest.approx(-0.6)
    assert defended.q > defended.p  # corrected over the three rungs
    assert gone.refusal.value == 0
    assert after.reading("after").halved == 2 and after.reading("before").halved == 1


def test_one_pair_leaves_the_widest_interval():
    one = paired([0.0])
    assert (one.value, one.n) == (0.0, 1)
    assert one.high == -one.low == pytest.approx(1.96 / 3)
    assert paired([1.0]).low == pytest.approx(1 - 1.96 / 3)


def test_ladders_that_can_not_be_compared_are_refused():
    with pytest.raises(InputError, match="two or more"):
        compare_ladders({"one": ladder()})
    with pytest.raises(InputError, match="no model"):
        compare_ladders({})
    with pytest.raises(InputError, match="differ in their dimensions"):
        compare_ladders({"one": ladder(), "two": ladder((0.8, 0.1))})


def test_a_record_comes_back_as_it_was_saved(tmp_path):
    both = compare_ladders({"before": ladder((0.8, 0.2, 0.2)), "after": ladder()}, draws=50)
    both.save(tmp_path / "both")
    assert type(both).load(tmp_path / "both") == both


def test_the_weakest_layer_is_that_of_least_refusal_within_the_damage_allowed():
    def tried(layer: int, score: float, kl: float):
        return layer, mean_estimate([score] * 2), mean_estimate([kl] * 2)

    rows = [tried(8, -0.1, 0.3), tried(12, -1.5, 0.3), tried(23, -3.7, 4.0)]
    assert weakest_layer(rows) == 12
    assert weakest_layer(rows, most_kl=5.0) == 23
    assert weakest_layer(rows[2:]) == 23
    with pytest.raises(InputError, match="no layer was tried"):
        weakest_layer([])


@pytest.mark.parametrize("differences", [[1.0] * 4, [-1.0] * 4, [1.0, 1.0, 1.0, -1.0]])
def test_intervals_of_differences_of_rates_stay_within_what_is_possible(differences):
    one = paired(differences)
    assert -1 <= one.low <= one.value <= one.high <= 1


def test_ladders_of_other_prompts_are_refused():
    other = replace(ladder(), provenance=replace(PROVENANCE, prompts_digest="others"))
    with pytest.raises(InputError, match="'two' and 'one' differ in the prompts of their pairs"):
        compare_ladders({"one": ladder(), "two": other})


def test_a_place_is_named_where_ladders_are_made():
    assert rl.defence.Place(rl.Site(2)) == rl.defence.Place(rl.Site(2), -1)

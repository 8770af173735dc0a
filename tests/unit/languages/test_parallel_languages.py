"""Cosines, transfer and language means on parallel residuals with known truth."""

import pytest
import torch
from support.paired_residuals import SITE, prompts_of, residuals_of
from support.parallel_residuals import D, N, parallel_prompts, parallel_residuals, unit
from support.simulated import generator

from refusal_lens import InputError
from refusal_lens.languages import (
    Parallel,
    fold_directions,
    halves,
    language_cosines,
    language_layers,
    language_transfer,
)
from refusal_lens.languages.cosines import jackknife
from refusal_lens.languages.transfer import _estimate


def test_identical_directions_give_a_corrected_cosine_of_one_and_distinct_ones_of_zero():
    table = language_cosines(parallel_residuals([unit(0), unit(0), unit(1)]))
    same, distinct = table.cosine("a", "b", 1), table.cosine("a", "c", 1)
    assert same.value == pytest.approx(1.0, abs=0.06)
    assert same.low <= 1.0 <= same.high
    assert distinct.value == pytest.approx(0.0, abs=0.15)
    assert distinct.low <= 0.0 <= distinct.high
    assert table.naive[0, 0, 1] < 0.98  # noise makes the cosine of the means too small
    assert table.excluding(1.0, 1) == (2, 3)


def test_content_that_languages_share_is_no_shared_direction():
    """Orthogonal truth; each pair's content comes back in its translation."""
    truth = [unit(0, 3.0), unit(1, 3.0)]
    drawn = [
        language_cosines(parallel_residuals(truth, shared=2.0, noise=0.3, n=24, seed=seed))
        for seed in range(20)
    ]
    naive = torch.stack([table.naive[0, 0, 1] for table in drawn])
    corrected = torch.stack([table.corrected[0, 0, 1] for table in drawn])
    assert naive.mean() > 0.25
    assert abs(corrected.nanmean()) < 0.12


def test_reliability_is_one_without_noise_and_low_without_a_direction():
    sure = language_cosines(parallel_residuals([unit(0), unit(0)], noise=0.01))
    assert sure.of_language("a", 1).value == pytest.approx(1.0, abs=0.01)
    nothing = language_cosines(parallel_residuals([0 * unit(0), 0 * unit(0)]))
    assert nothing.of_language("a", 1).low < 0.5


def test_a_language_offset_spoils_a_common_threshold_until_it_is_taken_off():
    """b lies far along the direction: everything of it looks refused."""
    shown = language_transfer(
        parallel_residuals([unit(0), unit(0)], [0 * unit(0), unit(0, 20.0)]), SITE, draws=19
    )
    assert shown.area("a", "b").value > 0.95  # within a language the offset cancels
    before, after = shown.before[0], shown.after[0]
    assert 0.4 < before.value < 0.6
    assert after.value > 0.95
    assert shown.accuracy_before[0].value == pytest.approx(0.5, abs=0.02)
    assert shown.accuracy_after[0].value > 0.9
    assert shown.gain[0].low > 0.3


def test_without_an_offset_taking_means_off_gains_nothing():
    shown = language_transfer(parallel_residuals([unit(0), unit(0)]), SITE, draws=19)
    assert shown.before[0].value > 0.95
    assert abs(shown.gain[0].value) < 0.05


def test_distinct_directions_separate_their_own_language_only():
    shown = language_transfer(parallel_residuals([unit(0), unit(1)]), SITE, draws=99)
    assert shown.same_language.value > 0.95
    assert shown.other_language.low < 0.5 < shown.other_language.high
    assert shown.area("a", "a").value > float(shown.null_high[0, 0])
    assert float(shown.q[0, 0]) < 0.05 < float(shown.q[0, 1])
    assert shown.area("all languages", "b").value > 0.9


def test_content_of_a_pair_does_not_leak_into_its_own_test():
    """Without a direction but with content that languages share, nothing is separated.

    Fitted on the tested pairs, a direction of so few would separate them.
    """
    read = parallel_residuals([0 * unit(0)] * 2, shared=3.0, noise=0.1, n=20)
    leaky = Parallel.of(read, SITE)
    direction = leaky.difference[0].mean(0)
    score = leaky.x[1] @ direction
    assert (score[:, :1] > score[:, 1:].T).double().mean() > 0.55
    shown = language_transfer(read, SITE, draws=19)
    assert shown.area("a", "b").low < 0.5


def test_areas_by_layer_are_those_of_transfer():
    read = parallel_residuals([unit(0, 1.5), unit(1, 1.5)])
    assert torch.allclose(
        language_layers(read).auroc[0], language_transfer(read, SITE, draws=3).auroc, atol=1e-6
    )


def test_directions_for_ablation_leave_out_the_pair_they_are_used_on():
    read = parallel_residuals([unit(0), unit(1)], noise=0.5)
    made = fold_directions(read, SITE)
    parallel = Parallel.of(read, SITE)
    fold = parallel.folds[0]
    kept = torch.ones(N, dtype=torch.bool)
    kept[fold] = False
    expected = parallel.difference[1][kept].mean(0)
    vector = made["b"][parallel.pairs[int(fold[0])]].vector
    assert torch.allclose(vector, (expected / expected.norm()).float(), atol=1e-5)
    assert abs(float(made["control: random"]["p0"].vector @ unit(0, 1.0))) < 0.8


def test_folds_hold_every_pair_once_and_halves_are_the_same_in_every_language():
    folds = Parallel.of(parallel_residuals([unit(0), unit(0)]), SITE).folds
    assert sorted(torch.cat(folds).tolist()) == list(range(N))
    first, second = halves(parallel_prompts())
    assert {p.pair for p in first}.isdisjoint({p.pair for p in second})
    assert {p.language for p in first} == {"en", "de"}


def test_the_jackknife_of_a_mean_is_its_t_interval():
    x = torch.randn(9, generator=generator(), dtype=torch.float64)
    left = torch.stack([x[torch.arange(9) != i].mean() for i in range(9)])
    value, low, high = jackknife(x.mean(), left)
    half = 2.306004 * float(x.std()) / 3
    assert float(value) == pytest.approx(float(x.mean()))
    assert (float(value - low), float(high - value)) == pytest.approx((half, half), rel=1e-4)


def test_categories_with_different_pairs_are_no_languages():
    read = residuals_of(torch.randn(20, 1, D), prompts_of(5))
    with pytest.raises(InputError, match="give the same pairs in every language"):
        Parallel.of(read, SITE)


def test_one_language_is_refused():
    read = parallel_residuals([unit(0)])
    for measure in (
        lambda: language_transfer(read, SITE, draws=19),
        lambda: language_cosines(read),
        lambda: language_layers(read),
        lambda: fold_directions(read, SITE),
    ):
        with pytest.raises(InputError, match=r"are of \['a'\]; .* give two or more"):
            measure()


def test_what_is_undefined_has_no_interval():
    drawn = torch.tensor([float("nan")] * 5).double()
    one = _estimate(drawn, "accuracy", 4)
    assert (one.value, one.low, one.high, one.n) == (None, None, None, 4)


def test_the_direction_of_shuffled_labels_holds_nothing_of_what_all_languages_share():
    """Independent coins leave the mean of the signs of it: here a cosine of .47 (rms)."""
    read = parallel_residuals([unit(0, 3.0), unit(0, 3.0)], noise=1.0)
    drawn = [fold_directions(read, SITE, seed=seed) for seed in range(20)]
    cosines = torch.tensor(
        [
            float(v.vector @ unit(0, 1.0))
            for m in drawn
            for v in m["control: shuffled labels"].values()
        ]
    )
    assert cosines.square().mean().sqrt() < 0.3

"""The control of shuffled labels: no stricter for a clear signal, and free of the direction."""

import pytest
import torch
from support.paired_residuals import SITE
from support.parallel_residuals import parallel_residuals, unit

from refusal_lens.languages import Parallel, fold_directions, language_transfer
from refusal_lens.languages.ablation import SHUFFLED
from refusal_lens.languages.crossfit import CrossFit
from refusal_lens.languages.transfer import _within


@pytest.mark.parametrize("length", [2.0, 8.0])
def test_the_clearer_a_direction_the_surer_it_is(length):
    shown = language_transfer(parallel_residuals([unit(0, length)] * 2), SITE, draws=199)
    assert float(shown.q.max()) == pytest.approx(1 / 200)
    assert float(shown.null_high.max()) < 0.8


def test_without_a_direction_one_in_twenty_cells_is_called():
    """Cells of one draw go together, so that bounds are those of the draws."""
    drawn = [
        language_transfer(parallel_residuals([0 * unit(0)] * 2, n=12, seed=s), SITE, draws=39)
        for s in range(20)
    ]
    beyond = torch.stack([(t.auroc > t.null_high).double().mean() for t in drawn])
    assert float(beyond.mean()) < 0.05 + 3 * (0.05 * 0.95 / 20) ** 0.5
    assert sum(float(t.q.min()) < 0.05 for t in drawn) <= 4  # 1 expected; more than 4: p .003


def test_labels_of_tested_pairs_are_exchanged_with_those_of_fitting_ones():
    """By hand: every draw is the measure itself on residuals with these pairs' sides exchanged."""

    whole = Parallel.of(parallel_residuals([unit(0), unit(1, 1.0)], n=11), SITE)
    signs = torch.ones(1, 11, dtype=torch.float64)
    signs[0, [0, 3, 4, 8]] = -1.0
    exchanged = whole.x.clone()
    exchanged[:, signs[0] < 0] = exchanged[:, signs[0] < 0].flip(2)
    by_hand = CrossFit.of(Parallel(whole.languages, whole.pairs, exchanged))
    ones = torch.ones_like(signs)
    shuffled = _within(list(CrossFit.of(whole).each_fold(ones, signs)))
    assert torch.allclose(shuffled, _within(list(by_hand.each_fold(ones))))


@pytest.mark.parametrize("n", [30, 29, 11])
def test_nothing_of_a_direction_stays_in_its_shuffled_control(n):
    """Signal a thousand times the noise; of signs one by one much of the control is along it."""
    made = fold_directions(parallel_residuals([unit(0, 1000.0)] * 2, n=n), SITE)
    for direction in made[SHUFFLED].values():
        assert abs(float(direction.vector[0])) < 0.8

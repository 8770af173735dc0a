"""The area under the ROC curve and its intervals, against scikit-learn's on the rows drawn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from refusal_lens.auroc import auroc, auroc_over_units, aurocs, drawn_aurocs, with_percentiles

REFUSED = torch.arange(40) % 2 == 0


@pytest.fixture
def scores() -> torch.Tensor:
    """Three rows with ties, of which the first separates the sides a little."""
    generator = torch.Generator().manual_seed(5)
    drawn = (8 * torch.randn(3, 40, generator=generator, dtype=torch.float64)).round() / 8
    drawn[0] += REFUSED
    return drawn


def test_areas_are_scikit_learns(scores):
    expected = [roc_auc_score(REFUSED, row) for row in scores]
    assert aurocs(scores, REFUSED).tolist() == pytest.approx(expected)
    whole = torch.ones(1, 40).double()
    areas = [float(drawn_aurocs(row, REFUSED, whole)[0]) for row in scores]
    assert areas == pytest.approx(expected)


def test_a_row_weighs_as_often_as_it_is_drawn(scores):
    rows = torch.randint(40, (20, 40), generator=torch.Generator().manual_seed(1))
    times = torch.stack([torch.bincount(drawn, minlength=40) for drawn in rows]).double()
    expected = [roc_auc_score(REFUSED[drawn], scores[0][drawn]) for drawn in rows]
    assert drawn_aurocs(scores[0], REFUSED, times).tolist() == pytest.approx(expected)


def test_in_groups_only_rows_of_one_group_are_compared(scores):
    groups = [i // 8 for i in range(40)]
    apart = 100 * torch.tensor(groups)  # what lies between groups does not count
    moved = scores[0] + apart
    each = [roc_auc_score(REFUSED[k : k + 8], scores[0][k : k + 8]) for k in range(0, 40, 8)]
    areas = drawn_aurocs(moved, REFUSED, torch.ones(1, 40).double(), groups)
    assert float(areas[0]) == pytest.approx(np.mean(each))


def test_the_bootstrap_is_the_percentiles_of_scikit_learns_areas(scores):
    generator = torch.Generator().manual_seed(7)
    areas = []
    for _ in range(500):
        drawn = torch.randint(40, (40,), generator=generator)
        areas.append(roc_auc_score(REFUSED[drawn], scores[0][drawn]))
    area = auroc(scores[0], REFUSED, seed=7)
    assert (area.low, area.high) == pytest.approx(tuple(np.quantile(areas, [0.025, 0.975])))
    assert area.n == 40 and area.control == 0.5
    assert auroc(scores[0][:10], torch.arange(10) < 4).value is None  # four on a side


def test_the_jackknife_leaves_out_each_pair(scores):
    unit = torch.arange(40) // 2
    unit[30:] = torch.arange(30, 40)  # the last are no pairs
    estimate = auroc_over_units(scores[0], REFUSED, unit)
    each = [unit != u for u in unit.unique()]
    without = torch.tensor([roc_auc_score(REFUSED[k], scores[0][k]) for k in each])
    n = len(each)
    se = float(((n - 1) / n * (without - without.mean()).square().sum()).sqrt())
    assert estimate.n == n == 25
    assert estimate.value == pytest.approx(roc_auc_score(REFUSED, scores[0]))
    assert estimate.value - estimate.low == pytest.approx(2.0639 * se, rel=1e-3)
    few = auroc_over_units(scores[0, :4], REFUSED[:4], unit[:4])
    assert few.low is None and few.value is not None


@pytest.mark.parametrize("n", [3, 4, 5])
def test_no_interval_is_made_of_fewer_than_five_on_a_side(n):
    """Separated sides of three give 1 under every draw, and would seem to be known for sure."""
    score, positive = torch.arange(2.0 * n), torch.arange(2 * n) >= n
    by_pair = auroc_over_units(score, positive, torch.arange(2 * n) % n)
    value, low, high = with_percentiles(score, positive, torch.ones(3, 2 * n).double())
    assert value == by_pair.value == 1.0
    defined = auroc(score, positive).low is not None
    assert defined == (by_pair.low is not None) == (low is not None) == (high is not None)
    assert defined == (n == 5)
    # In groups only rows that are compared count: one group has all of the positive rows.
    apart = with_percentiles(score, positive, torch.ones(3, 2 * n).double(), positive.tolist())
    assert apart[1:] == (None, None)

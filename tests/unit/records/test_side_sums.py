"""Streamed sums equal what is computed at once, whatever the batches.

float64 sums of numbers of order 1: 1e-12.
"""

import torch

from refusal_lens.sums import Sides, SideSums

CATEGORY = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1])
LABEL = torch.tensor([0, 1, 0, 1, 0, 1, 0, 0, 1])  # category 1 is not paired
PAIRS = [[0, 1], [2, 3], [4, 5]]


def summed(x, batches, n_inner=0):
    sums = SideSums(3, x.shape[1:], n_inner=n_inner)
    for rows in batches:
        pairs = [[rows.index(r) for r in pair] for pair in PAIRS if set(pair) <= set(rows)]
        here = torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2)
        sums.update(x[rows], Sides(CATEGORY[rows], LABEL[rows], here))
    return sums


def data():
    return torch.randn(9, 4, 5, generator=torch.Generator().manual_seed(0))


def test_batches_do_not_matter():
    whole = summed(data(), [list(range(9))])
    parts = summed(data(), [[4, 5], [0, 1, 6], [8], [2, 3, 7]])
    for name in ("count", "total", "square", "n_pairs", "pair_square"):
        assert torch.allclose(getattr(whole, name).double(), getattr(parts, name).double())
    assert whole.paired.tolist() == [True, False, False]


def test_means_and_errors_are_those_of_the_rows():
    x = data().double()
    sums = summed(data(), [[4, 5, 0, 1], [6, 7, 8, 2, 3]])
    first = x[[6, 7]]
    assert torch.allclose(sums.mean()[1, 0], first.mean(0), atol=1e-12)
    assert bool(sums.mean()[2].isnan().all())
    d = x[[0, 2, 4]] - x[[1, 3, 5]]
    assert torch.allclose(sums.difference_error()[0], d.std(0) / 3**0.5, atol=1e-12)
    four = torch.tensor([0, 2, 4])
    loose = SideSums(1, x.shape[1:])
    zeros = torch.zeros(6, dtype=torch.int64)
    loose.update(x[:6], Sides(zeros, LABEL[:6], torch.zeros(0, 2, dtype=torch.int64)))
    independent = (x[four].var(0) / 3 + x[four + 1].var(0) / 3).sqrt()
    assert torch.allclose(loose.difference_error()[0], independent, atol=1e-12)
    assert not torch.allclose(independent, d.std(0) / 3**0.5)


def test_inner_axes_are_those_of_one_vector():
    x = data().double()
    sums = summed(data(), [list(range(9))], n_inner=1)
    assert torch.allclose(sums.square[0, 1], x[[1, 3, 5]].square().sum((0, 2)), atol=1e-12)
    d = x[[0, 2, 4]] - x[[1, 3, 5]]
    assert torch.allclose(sums.pair_square[0], d.square().sum((0, 2)), atol=1e-12)
    assert sums.total.shape == (3, 2, 4, 5)

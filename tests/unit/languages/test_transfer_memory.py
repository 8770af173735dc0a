"""Areas of transfer by places in sorted order and in chunks of draws: the numbers, the memory."""

import pytest
import torch
from support.paired_residuals import SITE
from support.parallel_residuals import parallel_residuals, unit
from torch.utils._python_dispatch import TorchDispatchMode

from refusal_lens.languages import Parallel, language_transfer, transfer
from refusal_lens.languages.crossfit import CrossFit, Fold


def wins(refuse, comply, tested):
    """Every tested refuse-side prompt against every tested comply-side one, ties as halves."""
    return sum(
        float(r > c) + 0.5 * float(r == c)
        for r, one in zip(refuse, tested, strict=True)
        for c, other in zip(comply, tested, strict=True)
        if one and other
    )


def coarse_fold(draws=3, rows=2, languages=3, pairs=7):
    """Coordinates of few values, so that many tie; one pair is left out of each draw."""
    generator = torch.Generator().manual_seed(0)
    score = torch.randint(4, (draws, rows, languages, pairs, 2), generator=generator).double()
    tested = torch.ones(draws, pairs, dtype=torch.bool)
    tested[torch.arange(draws), torch.arange(draws)] = False
    return Fold(score, torch.zeros(draws, rows, languages, dtype=torch.float64), tested)


def test_areas_are_those_of_all_comparisons_one_by_one():
    fold = coarse_fold()
    draws, rows, languages = fold.score.shape[:3]
    within, across = transfer._within([fold]), transfer._across([fold])
    for m in range(draws):
        n = int(fold.tested[m].sum()) ** 2
        for a in range(rows):
            won = [
                [
                    wins(fold.score[m, a, b, :, 0], fold.score[m, a, c, :, 1], fold.tested[m])
                    for c in range(languages)
                ]
                for b in range(languages)
            ]
            own_wins = [won[b][b] for b in range(languages)]
            assert within[m, a].tolist() == [w / n for w in own_wins]
            of = n * languages * (languages - 1)
            assert float(across[m, a]) == (sum(map(sum, won)) - sum(own_wins)) / of


def two_languages(n):
    return parallel_residuals([unit(0), unit(1)], [0 * unit(0), unit(0, 3.0)], n=n)


def test_chunks_of_draws_give_the_numbers_of_the_whole(monkeypatch):
    read = two_languages(14)
    whole = language_transfer(read, SITE, draws=33)
    monkeypatch.setattr(transfer, "_MOST_BYTES", 1)
    assert transfer._at_a_time(CrossFit.of(Parallel.of(read, SITE))) == 1
    parts = language_transfer(read, SITE, draws=33)
    for name in ("auroc", "low", "high", "null_high", "q"):
        assert torch.allclose(getattr(whole, name), getattr(parts, name), atol=1e-6)
    for name in ("before", "after", "accuracy_before", "accuracy_after", "gain"):
        for one, other in zip(getattr(whole, name), getattr(parts, name), strict=True):
            expected = (one.value, one.low, one.high)
            assert (other.value, other.low, other.high) == pytest.approx(expected)


class Largest(TorchDispatchMode):
    """The most numbers that any tensor holds which is made meanwhile."""

    most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **kwargs or {})
        if isinstance(made, torch.Tensor):
            self.most = max(self.most, made.numel())
        return made


def test_no_tensor_is_larger_than_the_products_of_pairs(monkeypatch):
    """With 120 pairs, one of draw x row x language x pair x pair of a fold would be."""
    read = two_languages(120)
    products = CrossFit.of(Parallel.of(read, SITE)).products.numel()
    monkeypatch.setattr(transfer, "_MOST_BYTES", 8 * products // 4)
    with Largest() as largest:
        language_transfer(read, SITE, draws=200)
    assert largest.most <= products < 121 * 3 * 2 * 24 * 24

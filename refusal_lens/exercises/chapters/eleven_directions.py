# pyright: reportUnknownLambdaType=false
"""Chapter 3: cosines of several directions, how much is noise, and a test against chance."""

import torch
from torch import Tensor

from refusal_lens.exercises.exercise import Case, Exercise, Mistake
from refusal_lens.exercises.registry import Chapter
from refusal_lens.exercises.tiny import numbers


def _rows(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def _cosine_matrix(directions: Tensor) -> Tensor:
    unit = _rows(directions)
    return unit @ unit.T


COSINE_MATRIX = Exercise(
    name="cosine_matrix",
    solution=_cosine_matrix,
    gives="a tensor [category, category] of cosines",
    cases=(
        Case(
            "three directions of unequal length", (numbers(3, 6) * torch.tensor([[1], [3], [9]]),)
        ),
        Case("as many directions as components", (numbers(4, 4, seed=1) + 1,)),
    ),
    mistakes=(
        Mistake(
            "These are dot products: the longest direction has the largest entries. Divide each "
            "direction by its length first.",
            lambda d: d @ d.T,
        ),
        Mistake(
            "Wrong axis: each component was normalised over the directions. The length of a "
            "direction is over its last axis, `dim=-1`.",
            lambda d: (d / d.norm(dim=0)) @ (d / d.norm(dim=0)).T,
        ),
        Mistake(
            "This is a correlation: the mean of each direction's components was subtracted. A "
            "cosine has no mean taken off.",
            lambda d: torch.corrcoef(d),
        ),
        Mistake(
            "The sign is lost. A cosine of -1 (opposite) is something else than 1 (the same).",
            lambda d: _cosine_matrix(d).abs(),
        ),
        Mistake(
            "These are the components against each other. Directions are rows: `unit @ unit.T`.",
            lambda d: _rows(d).T @ _rows(d),
        ),
        Mistake("These are squared cosines.", lambda d: _cosine_matrix(d).square()),
        Mistake(
            "All directions are divided by one number, the length of the whole tensor. Each has a "
            "length of its own: `norm(dim=-1, keepdim=True)`.",
            lambda d: (d / d.norm()) @ (d / d.norm()).T,
        ),
    ),
)


def _unbiased(differences: Tensor) -> Tensor:
    """U: the mean of d_i . d_j over i != j."""
    n = len(differences)
    return (differences.sum(0).square().sum() - differences.square().sum()) / (n * (n - 1))


def _sq_length(differences: Tensor) -> Tensor:
    return differences.mean(0).square().sum()


def _reliability(differences: Tensor) -> Tensor:
    return _unbiased(differences) / _sq_length(differences)


_FEW = numbers(5, 8) + 0.8
_MANY = numbers(20, 8, seed=1) + torch.linspace(0, 1, 8)
RELIABILITY = Exercise(
    name="reliability",
    solution=_reliability,
    gives="a number: the mean of d_i . d_j over i != j, divided by the squared length of mean d",
    cases=(Case("five pairs", (_FEW,)), Case("twenty pairs", (_MANY,))),
    mistakes=(
        Mistake(
            "This is always 1: the products of a pair with itself are in, and they hold the noise. "
            "Leave out i = j.",
            lambda d: _sq_length(d) / _sq_length(d),
        ),
        Mistake(
            "The products of a pair with itself are left out of the sum, but not out of the count: "
            "there are n (n - 1) products of different pairs, not n * n.",
            lambda d: _reliability(d) * (len(d) - 1) / len(d),
        ),
        Mistake(
            "Each two pairs are counted once (i < j) in the sum, but twice in the count: there are "
            "n (n - 1) / 2 products with i < j.",
            lambda d: _reliability(d) / 2,
        ),
        Mistake(
            "This is U itself, a squared length. Divide it by the squared length of the mean "
            "difference, so that 1 is no noise.",
            lambda d: _unbiased(d),
        ),
        Mistake(
            "Every difference was normalised first: this is the mean cosine of pairs, and not the "
            "share of the mean's squared length that is signal.",
            lambda d: _unbiased(_rows(d)),
        ),
        Mistake(
            "You divide by the length of the mean difference. U is a squared length: divide by the "
            "squared length.",
            lambda d: _unbiased(d) / _sq_length(d).sqrt(),
        ),
        Mistake(
            "You divide by the mean squared length of a single difference. That is the share that "
            "pairs have in common; reliability is about their mean.",
            lambda d: _unbiased(d) / d.square().sum(-1).mean(),
        ),
        Mistake(
            "This is 1 minus the reliability, the share that is noise.",
            lambda d: 1 - _reliability(d),
        ),
    ),
)


def _naive(a: Tensor, b: Tensor) -> Tensor:
    return torch.cosine_similarity(a.mean(0), b.mean(0), dim=0)


def _corrected_cosine(a: Tensor, b: Tensor) -> Tensor:
    return a.mean(0) @ b.mean(0) / (_unbiased(a) * _unbiased(b)).sqrt()


CORRECTED_COSINE = Exercise(
    name="corrected_cosine",
    solution=_corrected_cosine,
    gives="a number: the cosine of the mean differences, with the noise divided out",
    cases=(
        Case("five and twenty pairs", (_FEW, _MANY)),
        Case("ten pairs each", (numbers(10, 6, seed=3) + 1, numbers(10, 6, seed=4) + 1)),
    ),
    mistakes=(
        Mistake(
            "This is the naive cosine: the noise is still in both lengths and makes it too small.",
            lambda a, b: _naive(a, b),
        ),
        Mistake(
            "You divide by the product of both reliabilities. Lengths, not squared lengths, are in "
            "a cosine: divide by the square root of that product (the ceiling).",
            lambda a, b: _naive(a, b) / (_reliability(a) * _reliability(b)),
        ),
        Mistake(
            "You multiply by the ceiling; noise has already made the cosine smaller. Divide.",
            lambda a, b: _naive(a, b) * (_reliability(a) * _reliability(b)).sqrt(),
        ),
        Mistake(
            "The square root is missing: U is a squared length.",
            lambda a, b: a.mean(0) @ b.mean(0) / (_unbiased(a) * _unbiased(b)),
        ),
        Mistake(
            "This cuts the value off at 1. The estimate of a ratio may be larger, and cutting it "
            "off would bias it; the interval shows how little is known.",
            lambda a, b: _corrected_cosine(a, b).clamp(-1, 1),
        ),
        Mistake(
            "This is the ceiling alone.",
            lambda a, b: (_reliability(a) * _reliability(b)).sqrt(),
        ),
    ),
)


def _at_least(differences: Tensor, signs: Tensor) -> tuple[Tensor, int]:
    """How many flipped means are at least as long as the observed one, and of how many."""
    null = (signs @ differences / len(differences)).norm(dim=-1)
    return (null >= differences.mean(0).norm()).sum(), len(signs)


def _sign_flip_p(differences: Tensor, signs: Tensor) -> Tensor:
    b, draws = _at_least(differences, signs)
    return (b + 1) / (draws + 1)


def _signs(draws: int, n: int, seed: int) -> Tensor:
    return numbers(draws, n, seed=seed).sign()


def _whole(*shape: int, seed: int) -> Tensor:
    """Whole numbers: with a power of two of pairs, equal lengths are equal to the last bit."""
    return (2 * numbers(*shape, seed=seed)).round()


SIGN_FLIP_P = Exercise(
    name="sign_flip_p",
    solution=_sign_flip_p,
    gives="a number (b + 1) / (B + 1), b flipped means being at least as long as the observed one",
    cases=(
        Case("a weak difference, 99 draws", (_whole(8, 4, seed=0) + 1, _signs(99, 8, 1))),
        Case("a strong difference, 199 draws", (_whole(16, 4, seed=2) + 4, _signs(199, 16, 3))),
        Case(
            "two pairs, for which flips repeat the observed mean",
            (_whole(2, 3, seed=4) + 3, _signs(19, 2, 5)),
        ),
    ),
    mistakes=(
        Mistake(
            "b / B can be 0, and no number of draws proves that. The observed assignment is one of "
            "the possible ones: (b + 1) / (B + 1).",
            lambda d, signs: _at_least(d, signs)[0] / len(signs),
        ),
        Mistake(
            "The observed mean is added above, but not below: (b + 1) / (B + 1).",
            lambda d, signs: (_at_least(d, signs)[0] + 1) / len(signs),
        ),
        Mistake(
            "This is 1 - p: it counts the flipped means that are shorter.",
            lambda d, signs: 1 - _sign_flip_p(d, signs),
        ),
        Mistake(
            "Flipped means that are exactly as long have to count, too: `>=`. With few pairs many "
            "flips give the observed length again.",
            lambda d, signs: (
                (((signs @ d / len(d)).norm(dim=-1) > d.mean(0).norm()).sum() + 1)
                / (len(signs) + 1)
            ),
        ),
        Mistake(
            "The statistic is the squared or plain length of the mean difference vector, not the "
            "absolute mean over all its components.",
            lambda d, signs: (
                (((signs @ d / len(d)).mean(-1).abs() >= d.mean().abs()).sum() + 1)
                / (len(signs) + 1)
            ),
        ),
        Mistake(
            "This is the number of flipped means, and not a share of the draws.",
            lambda d, signs: _at_least(d, signs)[0],
        ),
    ),
)


def _eigenvalues(directions: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(_cosine_matrix(directions))


def _effective_dimension(directions: Tensor) -> Tensor:
    values = _eigenvalues(directions)
    return values.sum().square() / values.square().sum()


EFFECTIVE_DIMENSION = Exercise(
    name="effective_dimension",
    solution=_effective_dimension,
    gives="a number between 1 and the number of directions",
    cases=(
        Case("three similar directions", (numbers(3, 6) * 0.3 + 1,)),
        Case("three at right angles", (torch.diag(torch.tensor([1.0, 2.0, 5.0])),)),
        Case("one direction three times", (numbers(1, 6).expand(3, 6).clone(),)),
    ),
    mistakes=(
        Mistake(
            "The directions are not normalised: a long one counts for several. Make them unit "
            "vectors first.",
            lambda d: (g := d @ d.T).trace() ** 2 / g.square().sum(),
        ),
        Mistake(
            "This is the rank: however little noise makes every direction count as a new one.",
            lambda d: torch.linalg.matrix_rank(d),
        ),
        Mistake(
            "You took singular values of the unit vectors. The eigenvalues of the cosine matrix "
            "are their squares.",
            lambda d: (s := torch.linalg.svdvals(_rows(d))).sum().square() / s.square().sum(),
        ),
        Mistake(
            "The mean direction was taken off first, and with it what all directions share.",
            lambda d: (
                (v := torch.linalg.svdvals(_rows(d) - _rows(d).mean(0)).square()).sum().square()
                / v.square().sum()
            ),
        ),
        Mistake(
            "This is turned over: the square of the sum is above, the sum of squares below.",
            lambda d: 1 / _effective_dimension(d),
        ),
    ),
)

CHAPTER = Chapter(
    number=3,
    title="Eleven directions",
    exercises=(COSINE_MATRIX, RELIABILITY, CORRECTED_COSINE, SIGN_FLIP_P, EFFECTIVE_DIMENSION),
)

# pyright: reportUnknownLambdaType=false
"""Chapter 8: lists of one's own: splits, confounds, a held-out measure, and a choice of layer."""

from collections.abc import Sequence

import torch
from torch import Tensor

from refusal_lens.exercises.exercise import Case, Exercise, Mistake
from refusal_lens.exercises.registry import Chapter
from refusal_lens.exercises.tiny import numbers


def _in_test(pairs: Sequence[str], n_test: int) -> list[bool]:
    distinct = list(dict.fromkeys(pairs))
    kept = distinct[len(distinct) - n_test :]
    return [pair in kept for pair in pairs]


_PAIRS = ["b", "b", "a", "a", "d", "c", "d", "c"]
IN_TEST = Exercise(
    name="in_test",
    solution=_in_test,
    gives="a list with True for each prompt of the last `n_test` pairs, by first appearance",
    cases=(
        Case("four pairs, the sides of two of them apart", (_PAIRS, 1)),
        Case("two pairs for the test", (_PAIRS, 2)),
        Case("no pair for the test", (["a", "a", "b", "b"], 0)),
        Case("a pair of three prompts", (["x", "y", "x", "x", "y"], 1)),
    ),
    mistakes=(
        Mistake(
            "This takes the last `n_test` prompts. A pair is torn apart: one side trains, its twin "
            "in nearly the same words tests, and the test is no longer of unseen prompts.",
            lambda pairs, n: [i >= len(pairs) - n for i in range(len(pairs))],
        ),
        Mistake(
            "This takes the last `2 * n_test` prompts. It keeps pairs together only where the two "
            "sides are neighbours; go by the pair's name.",
            lambda pairs, n: [i >= len(pairs) - 2 * n for i in range(len(pairs))],
        ),
        Mistake(
            "The pairs were sorted by name (or put into a set, which has no order). Take them in "
            "the order of their first appearance: `dict.fromkeys(pairs)`.",
            lambda pairs, n: [p in sorted({*pairs})[len({*pairs}) - n :] for p in pairs],
        ),
        Mistake(
            "These are the prompts for training: True has to be the test.",
            lambda pairs, n: [not x for x in _in_test(pairs, n)],
        ),
        Mistake(
            "`names[-0:]` is everything, so that with `n_test = 0` all pairs are tested.",
            lambda pairs, n: [p in list(dict.fromkeys(pairs))[-n:] for p in pairs],
        ),
        Mistake(
            "These are the first pairs. The last ones were asked for.",
            lambda pairs, n: [p in list(dict.fromkeys(pairs))[:n] for p in pairs],
        ),
    ),
)


def _gap(refuse: Tensor, comply: Tensor, correction: int) -> Tensor:
    parts = [(len(x) - correction) * x.var(correction=correction) for x in (refuse, comply)]
    pooled = (parts[0] + parts[1]) / (len(refuse) + len(comply) - 2 * correction)
    return (refuse.mean() - comply.mean()) / pooled.sqrt()


def _length_gap(refuse: Tensor, comply: Tensor) -> Tensor:
    return _gap(refuse, comply, 1)


_LONG = torch.tensor([12.0, 9.0, 14.0, 11.0])
_SHORT = torch.tensor([8.0, 10.0, 7.0, 9.0, 6.0, 9.0])
LENGTH_GAP = Exercise(
    name="length_gap",
    solution=_length_gap,
    gives="a number: the difference of mean lengths, in pooled sample standard deviations",
    cases=(
        Case("four and six prompts", (_LONG, _SHORT)),
        Case("two sides of three prompts", (10 * numbers(3) + 20, 5 * numbers(3, seed=1) + 20)),
    ),
    mistakes=(
        Mistake(
            "These are population variances (divided by n). A sample's variance is divided by "
            "n - 1; with few prompts that matters. `np.std` takes n unless `ddof=1` is given.",
            lambda a, b: _gap(a, b, 0),
        ),
        Mistake(
            "This is the standard deviation of all lengths together. It contains the difference "
            "itself, and makes it look smaller; pool the variances *within* the sides.",
            lambda a, b: (a.mean() - b.mean()) / torch.cat([a, b]).std(),
        ),
        Mistake(
            "This is the standard deviation of the refuse side only. Pool both.",
            lambda a, b: (a.mean() - b.mean()) / a.std(),
        ),
        Mistake(
            "This is the standard deviation of the benign side only. Pool both.",
            lambda a, b: (a.mean() - b.mean()) / b.std(),
        ),
        Mistake(
            "The two standard deviations were averaged. Pool variances, weighted by n - 1, then "
            "take the root.",
            lambda a, b: (a.mean() - b.mean()) / ((a.std() + b.std()) / 2),
        ),
        Mistake("The sign is turned: refuse minus comply.", lambda a, b: -_length_gap(a, b)),
        Mistake(
            "The sign is lost. Which side is longer matters.", lambda a, b: _length_gap(a, b).abs()
        ),
        Mistake(
            "You divide by the variance. The standard deviation is its root.",
            lambda a, b: _length_gap(a, b).square() / (a.mean() - b.mean()),
        ),
        Mistake(
            "This is Welch's or Student's t: it grows with the number of prompts. The size of the "
            "gap was asked for.",
            lambda a, b: (a.mean() - b.mean()) / (a.var() / len(a) + b.var() / len(b)).sqrt(),
        ),
    ),
)


def _area(refuse: Tensor, comply: Tensor) -> Tensor:
    above = (refuse[:, None] > comply).double() + 0.5 * (refuse[:, None] == comply).double()
    return above.mean()


_HIGH = torch.tensor([3.0, 2.0, 2.0, 1.0, 4.0])
_LOW = torch.tensor([0.0, 2.0, 1.0, -1.0])
AREA = Exercise(
    name="area",
    solution=_area,
    gives="a number: how often a refuse-side prompt scores above a benign one, ties counting half",
    cases=(
        Case("scores with ties", (_HIGH, _LOW)),
        Case("scores that separate nothing", (torch.ones(3), torch.ones(4))),
        Case("scores that are turned round", (-numbers(5).abs(), numbers(4, seed=1).abs())),
    ),
    mistakes=(
        Mistake(
            "Ties count as 0 here. A score that is the same for every prompt would then seem worse "
            "than chance; count a tie half.",
            lambda a, b: (a[:, None] > b).double().mean(),
        ),
        Mistake(
            "Ties count as 1 here. A score that is the same for every prompt would then seem "
            "perfect; count a tie half.",
            lambda a, b: (a[:, None] >= b).double().mean(),
        ),
        Mistake(
            "The sides are swapped: this is how often a benign prompt scores above.",
            lambda a, b: 1 - _area(a, b),
        ),
        Mistake(
            "This turns an area below .5 round. Which side scores higher was known beforehand; "
            "turning it after looking makes every score seem better than chance.",
            lambda a, b: torch.maximum(_area(a, b), 1 - _area(a, b)),
        ),
        Mistake(
            "Each refuse-side prompt met only the benign one of the same row. All pairs of both "
            "sides count: `refuse[:, None] > comply`.",
            lambda a, b: (a[: len(b)] > b[: len(a)]).double().mean(),
        ),
        Mistake(
            "This is the accuracy at the middle between the means. The area needs no threshold.",
            lambda a, b: (
                ((a > (a.mean() + b.mean()) / 2).sum() + (b <= (a.mean() + b.mean()) / 2).sum())
                / (len(a) + len(b))
            ),
        ),
    ),
)


def _layer_and_score(layers: list[int], val: Tensor, test: Tensor) -> tuple[int, float]:
    best = int(val.argmax())
    return layers[best], float(test[best])


LAYER_AND_SCORE = Exercise(
    name="layer_and_score",
    solution=_layer_and_score,
    gives="(layer, score): the layer that is best on `val`, and its score on `test`",
    cases=(
        Case(
            "four layers of a deep model",
            (
                [6, 12, 18, 24],
                torch.tensor([0.6, 0.8, 0.9, 0.7]),
                torch.tensor([0.5, 0.85, 0.75, 0.8]),
            ),
        ),
        Case("two layers", ([3, 9], torch.tensor([0.9, 0.7]), torch.tensor([0.6, 0.8]))),
    ),
    mistakes=(
        Mistake(
            "The layer was chosen on the test prompts. The best of several numbers is partly luck, "
            "and its score on the same prompts is too high: choose on `val`.",
            lambda layers, val, test: (layers[int(test.argmax())], float(test.max())),
        ),
        Mistake(
            "The layer is right, but the score is the one it was chosen by. Report the score on "
            "prompts that had no part in the choice: `test`.",
            lambda layers, val, test: (layers[int(val.argmax())], float(val.max())),
        ),
        Mistake(
            "This is the index of the layer in the list. The list may begin anywhere and leave "
            "layers out: `layers[index]`.",
            lambda layers, val, test: (int(val.argmax()), float(test[val.argmax()])),
        ),
        Mistake(
            "The layer was chosen on `val`, and the score is the best of `test`, of another layer.",
            lambda layers, val, test: (layers[int(val.argmax())], float(test.max())),
        ),
        Mistake(
            "This is the worst layer.",
            lambda layers, val, test: (layers[int(val.argmin())], float(test[val.argmin()])),
        ),
        Mistake(
            "The layer was chosen by the mean of `val` and `test`: the test prompts had a part in "
            "the choice.",
            lambda layers, val, test: (
                layers[int((val + test).argmax())],
                float(test[(val + test).argmax()]),
            ),
        ),
    ),
)

CHAPTER = Chapter(
    number=8,
    title="Your own model",
    exercises=(LENGTH_GAP, IN_TEST, AREA, LAYER_AND_SCORE),
)

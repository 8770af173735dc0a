# pyright: reportUnknownLambdaType=false
"""Chapter 2: fit a direction, take it out, put it in, count refusals, see what an edit moves."""

from collections.abc import Sequence

import torch
from torch import Tensor

from refusal_lens.exercises.exercise import Case, Exercise, Mistake
from refusal_lens.exercises.registry import Chapter
from refusal_lens.exercises.tiny import numbers


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


def _mean_difference(refused: Tensor, answered: Tensor) -> Tensor:
    return _unit(refused.mean(0) - answered.mean(0))


MEAN_DIFFERENCE = Exercise(
    name="mean_difference",
    solution=_mean_difference,
    gives="the unit vector [d_model] from the mean of `answered` to the mean of `refused`",
    cases=(
        Case("six refused and four answered prompts", (numbers(6, 5) + 1, numbers(4, 5, seed=1))),
        Case("one prompt on each side", (numbers(1, 5, seed=2), numbers(1, 5, seed=3))),
        Case("as many prompts as components", (numbers(5, 5, seed=4) * 3, numbers(5, 5, seed=5))),
    ),
    mistakes=(
        Mistake(
            "This points towards answering. Positive is towards refusal here: the mean of the "
            "refused prompts minus the mean of the answered ones.",
            lambda refused, answered: -_mean_difference(refused, answered),
        ),
        Mistake(
            "This points towards answering, and its length is not 1: subtract the answered mean "
            "from the refused one, then normalise.",
            lambda refused, answered: answered.mean(0) - refused.mean(0),
        ),
        Mistake(
            "The difference of means is right, but its length is not 1. Divide it by its norm.",
            lambda refused, answered: refused.mean(0) - answered.mean(0),
        ),
        Mistake(
            "Wrong axis: this is a mean over components. Prompts are the first axis: `mean(0)`.",
            lambda refused, answered: _unit(refused.mean(1) - answered.mean(1)),
        ),
        Mistake(
            "Wrong axis, and not normalised: this is a mean over components. Prompts are the first "
            "axis: `mean(0)`.",
            lambda refused, answered: refused.mean(1) - answered.mean(1),
        ),
        Mistake(
            "`mean()` without an axis gives one number for all prompts and components.",
            lambda refused, answered: refused.mean() - answered.mean(),
        ),
        Mistake(
            "These are sums. With unequal numbers of prompts the larger side pulls the direction "
            "towards itself; take means.",
            lambda refused, answered: _unit(refused.sum(0) - answered.sum(0)),
        ),
        Mistake(
            "Each prompt was normalised before the means were taken. The direction is a difference "
            "of means of the stream as it is; normalise at the end, once.",
            lambda r, a: _mean_difference(
                r / r.norm(dim=1, keepdim=True), a / a.norm(dim=1, keepdim=True)
            ),
        ),
        Mistake(
            "The two means were normalised before they were subtracted, and the difference of unit "
            "vectors has another direction. Normalise at the end, once.",
            lambda r, a: _unit(_unit(r.mean(0)) - _unit(a.mean(0))),
        ),
    ),
)


def _ablate(resid: Tensor, direction: Tensor) -> Tensor:
    unit = direction / direction.norm()
    return resid - (resid @ unit)[..., None] * unit


ABLATE = Exercise(
    name="ablate",
    solution=_ablate,
    gives="a tensor of the shape of `resid` with coordinate 0 along the direction at each token",
    cases=(
        Case("a direction of length 1", (numbers(2, 3, 5), _unit(numbers(5, seed=1)))),
        Case("a direction of another length", (numbers(2, 4, 5), 3 * numbers(5, seed=2))),
    ),
    mistakes=(
        Mistake(
            "This holds only for a direction of length 1: the direction comes in twice, in the dot "
            "product and in what is subtracted, so normalise it first.",
            lambda x, r: x - (x @ r)[..., None] * r,
        ),
        Mistake(
            "The projection is divided by the length once; the direction comes in twice.",
            lambda x, r: x - (x @ r)[..., None] * r / r.norm(),
        ),
        Mistake(
            "The sign is turned: this doubles the coordinate instead of removing it.",
            lambda x, r: 2 * x - _ablate(x, r),
        ),
        Mistake(
            "This subtracts the unit vector from each token, whatever the token's coordinate is. "
            "Subtract as much of it as the token has.",
            lambda x, r: x - r / r.norm(),
        ),
        Mistake(
            "This subtracts the direction from each token, whatever the token's coordinate is. "
            "Subtract as much of its unit vector as the token has.",
            lambda x, r: x - r,
        ),
        Mistake(
            "This is a reflection: the projection was subtracted twice, so that the coordinate "
            "changes its sign instead of becoming 0.",
            lambda x, r: 2 * _ablate(x, r) - x,
        ),
        Mistake(
            "This multiplies component by component. How much a token has of the direction is one "
            "number, a dot product: a sum over components.",
            lambda x, r: x - x * r,
        ),
        Mistake(
            "This is the part that has to be removed. Subtract it from the stream.",
            lambda x, r: x - _ablate(x, r),
        ),
        Mistake(
            "Every token lost the mean coordinate of all. Each has a coordinate of its own.",
            lambda x, r: x - (x @ (r / r.norm())).mean() * r / r.norm(),
        ),
    ),
)


def _add(resid: Tensor, unit: Tensor, scale: float, strength: float) -> Tensor:
    return resid + strength * scale * unit


ADD = Exercise(
    name="add",
    solution=_add,
    gives="a tensor of the shape of `resid`, each token moved by `strength` scales",
    cases=(
        Case("strength 1", (numbers(2, 3, 5), _unit(numbers(5, seed=1)), 7.0, 1.0)),
        Case("strength -0.5", (numbers(1, 4, 5, seed=2), _unit(numbers(5, seed=3)), 12.0, -0.5)),
    ),
    mistakes=(
        Mistake(
            "The scale is missing: strength 1 has to move a token by the whole distance between "
            "the means, not by a vector of length 1.",
            lambda x, unit, scale, strength: x + strength * unit,
        ),
        Mistake(
            "The sign is turned: positive strength is towards refusal.",
            lambda x, unit, scale, strength: x - strength * scale * unit,
        ),
        Mistake(
            "Only the last token is moved. The edit acts at every position.",
            lambda x, unit, scale, strength: torch.cat(
                [x[:, :-1], _add(x[:, -1:], unit, scale, strength)], dim=1
            ),
        ),
        Mistake(
            "This sets the coordinate (a clamp): what the token had along the direction is gone. "
            "Adding moves it from where it is.",
            lambda x, unit, scale, strength: _ablate(x, unit) + strength * scale * unit,
        ),
        Mistake(
            "The stream is multiplied, and not moved along the direction.",
            lambda x, unit, scale, strength: x * (1 + strength * scale),
        ),
        Mistake("The strength is missing.", lambda x, unit, scale, strength: x + scale * unit),
    ),
)


def _count(outcomes: Sequence[str], *kinds: str) -> int:
    return sum(outcome in kinds for outcome in outcomes)


def _refusal_rate(outcomes: Sequence[str]) -> float | None:
    read = _count(outcomes, "refused", "complied", "partial")
    return _count(outcomes, "refused") / read if read else None


REFUSAL_RATE = Exercise(
    name="refusal_rate",
    solution=_refusal_rate,
    gives="refused answers as a share of those that could be read, None if there is none",
    cases=(
        Case(
            "answers of all four kinds",
            (["refused", "complied", "unclear", "refused", "partial", "unclear", "refused"],),
        ),
        Case("no refusal", (["complied", "complied", "unclear"],)),
        Case("nothing but unclear answers", (["unclear", "unclear"],)),
    ),
    mistakes=(
        Mistake(
            "Unclear answers are in the denominator: a model that was broken into nonsense would "
            "seem to refuse less. Leave them out of both counts, and say how many there were.",
            lambda outcomes: _count(outcomes, "refused") / len(outcomes),
        ),
        Mistake(
            "Partial answers count as refusals here. They gave some of what was asked for.",
            lambda outcomes: (
                _count(outcomes, "refused", "partial")
                / (len(outcomes) - _count(outcomes, "unclear"))
                if {*outcomes} != {"unclear"}
                else None
            ),
        ),
        Mistake(
            "Unclear answers count as refusals here. An answer that can't be read is neither.",
            lambda outcomes: _count(outcomes, "refused", "unclear") / len(outcomes),
        ),
        Mistake(
            "Where no answer could be read, the rate is undefined: return None. 0 would claim that "
            "nothing was refused.",
            lambda outcomes: _refusal_rate(outcomes) or 0.0,
        ),
        Mistake(
            "Where no answer could be read, this divides by zero. The rate is undefined there: "
            "return None.",
            lambda outcomes: (
                _count(outcomes, "refused") / (len(outcomes) - _count(outcomes, "unclear"))
            ),
        ),
        Mistake(
            "Partial answers are left out of the denominator. They could be read, and they are not "
            "refusals.",
            lambda outcomes: (
                _count(outcomes, "refused") / _count(outcomes, "refused", "complied")
                if _count(outcomes, "refused", "complied")
                else None
            ),
        ),
    ),
)


def _kl(before: Tensor, after: Tensor) -> Tensor:
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)


def _mean_kl(before: Tensor, after: Tensor) -> Tensor:
    return _kl(before, after).mean()


MEAN_KL = Exercise(
    name="mean_kl",
    solution=_mean_kl,
    gives="a number in nats: KL(before || after) of the next token, mean over prompts",
    cases=(
        Case("four prompts", (numbers(4, 6), numbers(4, 6, seed=1))),
        Case("no change at all", (numbers(3, 6), numbers(3, 6) + 2)),
        Case("one prompt", (2 * numbers(1, 6, seed=2), numbers(1, 6, seed=3))),
    ),
    mistakes=(
        Mistake(
            "The two are swapped: this is KL(after || before). The unedited model is the reference "
            "and gives the weights.",
            lambda before, after: _mean_kl(after, before),
        ),
        Mistake(
            "This is the sum over prompts; it grows with their number. Take the mean.",
            lambda before, after: _kl(before, after).sum(),
        ),
        Mistake(
            "You took the mean over the vocabulary, too. KL is a sum over tokens, and a mean over "
            "prompts only (`F.kl_div(..., reduction='mean')` is not it; 'batchmean' is).",
            lambda before, after: _kl(before, after).mean() / before.shape[-1],
        ),
        Mistake(
            "The two are swapped, and the mean was taken over the vocabulary, too: give "
            "`F.kl_div` first the log-probabilities *after* the edit, and `'batchmean'`.",
            lambda before, after: _mean_kl(after, before) / before.shape[-1],
        ),
        Mistake(
            "The softmax runs over prompts. The vocabulary is the last axis: `dim=-1`.",
            lambda before, after: (
                ((p := before.softmax(0)) * (before.log_softmax(0) - after.log_softmax(0)))
                .sum(-1)
                .mean()
                + 0 * p.sum()
            ),
        ),
        Mistake(
            "This is in bits (log2). Nats use the natural logarithm.",
            lambda before, after: _mean_kl(before, after) / torch.tensor(2.0).log(),
        ),
        Mistake(
            "Logits are no log-probabilities: adding a constant to them changes nothing in the "
            "model, but it changes this number. Take `log_softmax` of both.",
            lambda before, after: (before.softmax(-1) * (before - after)).sum(-1).mean(),
        ),
        Mistake("There is one value per prompt. Take their mean.", lambda b, a: _kl(b, a)),
    ),
)

CHAPTER = Chapter(
    number=2,
    title="One direction",
    exercises=(MEAN_DIFFERENCE, ABLATE, REFUSAL_RATE, ADD, MEAN_KL),
)

"""How many of several ranked directions to erase: by what they read and what they do, held out.

The SOM paper (arXiv 2511.08379) searches for the set whose ablation makes most attacks succeed.
Here the sets are nested (the first 1, 2, ... K directions, in their order), and k is chosen by two
measures that need no attack:

- separability: the AUROC, on held-out prompts, of a linear classifier (LDA with Ledoit-Wolf
  shrinkage) in the span of the first k, fitted on the training prompts; standard error by DeLong;
- effect: how far the mean refusal score of prompts falls with the first k erased, in nats.

The rule is that of one standard error (Breiman et al. 1984), for both at once: k is the smallest
for which neither measure is more than a standard error below its largest value. Where no k is, the
one on the effect decides, and `relaxed` says so.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

import torch
from jaxtyping import Bool, Float64
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor

from refusal_lens.directions import Direction, several_directions
from refusal_lens.errors import InputError
from refusal_lens.intervals import NORMAL, mean_estimate, t_quantile
from refusal_lens.prompts import REFUSE
from refusal_lens.records import Estimate, Record
from refusal_lens.residuals import Residuals, index_axes

RefusalScores = Callable[[tuple[Direction, ...]], Sequence[float]]
"""The refusal score of each prompt with these directions erased; of none, unedited."""

_LEAST: Final = 5  # held-out prompts per side


@final
@dataclass(frozen=True)
class NestedSet:
    """The first k directions: held-out AUROC in their span (control: chance, .5), and the fall.

    `fall` is the mean over prompts of the refusal score unedited minus erased (control: 0).
    """

    k: int
    separability: Estimate
    fall: Estimate


@final
@dataclass(frozen=True)
class NestedChoice(Record):
    """Every k that was tried, and the choice. `relaxed` says how the rule was relaxed; None if not.

    The interval of the chosen set's measures is that of a set chosen by them: measure the choice on
    other prompts.
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    sets: tuple[NestedSet, ...]
    k: int
    relaxed: str | None


def choose_directions(
    directions: Sequence[Direction],
    refusal_scores: RefusalScores,
    *,
    train: Residuals,
    held_out: Residuals,
) -> NestedChoice:
    """How many of the directions, from the first, to erase; see the module for the rule.

    The directions are of one site and offset, most important first, as `fit_som` gives them.
    `refusal_scores` is called with the first 0, 1, ... K directions, for example:

    >>> trust = rl.judges.ScoreTrust((5,), ("x",), {}, {"advice": "first token"}, {}, {}, {})
    >>> def refusal_scores(erased):
    ...     harmful = prompts.only(category="advice", label="refuse")
    ...     if not erased:
    ...         return rl.evaluation.refusal_scores(model, harmful, trust).tolist()
    ...     with model.editing(rl.AblateSubspace(erased)):
    ...         return rl.evaluation.refusal_scores(model, harmful, trust).tolist()
    >>> sides = {split: model.residuals(prompts.only(split=split)) for split in ("train", "test")}
    >>> both = [directions["advice", 2], directions["humanizing", 2]]
    >>> choice = choose_directions(
    ...     both, refusal_scores, train=sides["train"], held_out=sides["test"]
    ... )
    >>> [tried.k for tried in choice.sets]
    [1, 2]

    Raises:
        InputError: no direction, directions of several places, fewer than five held-out prompts per
            side, or scores that aren't one per prompt every time.
    """
    directions = several_directions(directions)
    if not directions or len({(d.site, d.offset) for d in directions}) > 1:
        places = sorted({f"{d.site}, offset {d.offset}" for d in directions})
        raise InputError(
            f"{len(directions)} directions of the places {places}; expected at least one, all of "
            "one site and offset"
        )
    read, read_labels = _at(train, directions[0])
    tested, tested_labels = _at(held_out, directions[0])
    least = min(int(tested_labels.sum()), int((~tested_labels).sum()))
    if least < _LEAST or read_labels.all() or not read_labels.any():
        raise InputError(
            f"{least} held-out prompts on one side; expected at least {_LEAST} on each, and "
            "training prompts on both"
        )
    unedited = list(refusal_scores(()))
    tried: list[NestedSet] = []
    for k in range(1, len(directions) + 1):
        axes = torch.stack([d.vector for d in directions[:k]]).double()
        classifier = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
        classifier.fit((read @ axes.mT).numpy(), read_labels.numpy())
        scores = torch.from_numpy(classifier.decision_function((tested @ axes.mT).numpy()))
        fall = _fall(unedited, list(refusal_scores(directions[:k])), k)
        tried.append(NestedSet(k, _area(scores, tested_labels), fall))
    return _choice(tried)


def _at(
    residuals: Residuals, place: Direction
) -> tuple[Float64[Tensor, "prompt d_model"], Bool[Tensor, " prompt"]]:
    """The residuals where the directions are, and which are of the refuse side."""
    _, label = index_axes(residuals.labelled)
    return residuals.at(place.site, place.offset).double(), label == REFUSE


def _area(scores: Float64[Tensor, " prompt"], refuse: Bool[Tensor, " prompt"]) -> Estimate:
    """AUROC with DeLong's interval (DeLong, DeLong & Clarke-Pearson 1988); control: chance, .5."""
    above = (scores[refuse][:, None] - scores[~refuse]).sign() / 2 + 0.5
    value, n = float(above.mean()), above.shape
    variance = float(above.mean(1).var()) / n[0] + float(above.mean(0).var()) / n[1]
    half = NORMAL * variance**0.5
    method = "AUROC on held-out prompts, DeLong's interval; control: chance"
    return Estimate(value, value - half, value + half, len(scores), method, 0.5)


def _fall(unedited: Sequence[float], edited: Sequence[float], k: int) -> Estimate:
    if len(edited) != len(unedited) or len(unedited) < 2:
        raise InputError(
            f"{len(edited)} refusal scores with {k} directions erased, {len(unedited)} with none; "
            "expected one per prompt every time, of at least two prompts"
        )
    return mean_estimate([a - b for a, b in zip(unedited, edited, strict=True)], 0.0)


def _choice(tried: Sequence[NestedSet]) -> NestedChoice:
    """The smallest k within a standard error of the best, on both measures."""
    reads = _near_best([s.separability for s in tried])
    acts = _near_best([s.fall for s in tried], degrees=tried[0].fall.n - 1)
    both = [s.k for s, *near in zip(tried, reads, acts, strict=True) if all(near)]
    if both:
        return NestedChoice(tuple(tried), min(both), None)
    k = min(s.k for s, near in zip(tried, acts, strict=True) if near)
    relaxed = (
        "no number of directions is within a standard error of the best on both measures; taken is "
        "the smallest for which the fall of the refusal score is"
    )
    return NestedChoice(tuple(tried), k, relaxed)


def _near_best(estimates: Sequence[Estimate], degrees: int | None = None) -> list[bool]:
    """Which are at most a standard error, of the largest value, below it."""
    quantile = NORMAL if degrees is None else float(t_quantile(degrees))
    values = [float("-inf") if e.value is None else e.value for e in estimates]
    best = estimates[values.index(max(values))]
    if best.value is None or best.low is None or best.high is None:
        return [True] * len(estimates)
    error = (best.high - best.low) / (2 * quantile)
    return [value >= best.value - error for value in values]

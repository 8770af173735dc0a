"""Choosing layer and position by Arditi et al. 2024: candidate scores, the rule, the choice."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, final

from refusal_lens.directions import Direction, several_directions
from refusal_lens.judges import ScoreTrust
from refusal_lens.model import LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Estimate, Record
from refusal_lens.selection.scores import CandidateScores

KL_LIMIT: Final = 0.1
LAYERS_LEFT_OUT: Final = 0.2  # the last fifth
INDUCE_LIMIT: Final = 0.0


@final
@dataclass(frozen=True)
class Candidate:
    """A direction's three scores at one layer and offset.

    `ablation`: mean refusal score of refuse-side prompts with the direction ablated everywhere
    (lower is better; control: unedited). `addition`: mean refusal score of benign prompts with
    the raw difference added at its own layer (higher is better; control: unedited). `kl`: mean
    divergence in nats of the next-token distribution on benign prompts, unedited to ablated.
    """

    layer: int
    offset: int
    ablation: Estimate
    addition: Estimate
    kl: Estimate


@final
@dataclass(frozen=True)
class Selection(Record):
    """Candidates, those that pass the rule in order of preference, and the choice.

    `relaxed` says in words how the rule was relaxed where no candidate passed it; None if not.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    candidates: tuple[Candidate, ...]
    survivors: tuple[int, ...]
    chosen: int
    relaxed: str | None

    @property
    def choice(self) -> Candidate:
        """The chosen candidate."""
        return self.candidates[self.chosen]


@final
@dataclass(frozen=True)
class LayerCurve(Record):
    """The three scores of one category's (or the pooled) direction at many layers."""

    SCHEMA_VERSION: ClassVar[int] = 1

    category: str
    candidates: tuple[Candidate, ...]


def passing(scores: Sequence[tuple[int, float, float, float]], n_layers: int) -> tuple[int, ...]:
    """Indices of the candidates that pass, best first.

    `scores` holds (layer, ablation score, addition score, KL) of each. Left out: any NaN, a layer
    in the last fifth (l >= int(.8 L)), KL above .1, an addition score below 0; equality passes,
    as in the released code (the paper states strict inequalities). The rest in order of the
    ablation score, smallest first.

    >>> passing([(3, -1.0, 2.0, 0.05), (4, -2.0, 2.0, 0.05), (5, -3.0, 2.0, 0.50)], n_layers=10)
    (1, 0)
    """
    limit = first_late_layer(n_layers)
    kept = [
        (ablation, i)
        for i, (layer, ablation, addition, kl) in enumerate(scores)
        if not any(math.isnan(x) for x in (ablation, addition, kl))
        and layer < limit
        and kl <= KL_LIMIT
        and addition >= INDUCE_LIMIT
    ]
    return tuple(i for _, i in sorted(kept))


def select(candidates: Sequence[Candidate], n_layers: int) -> Selection:
    """Arditi's choice; where nothing passes, the most balanced candidate, as `relaxed` records.

    The fall-back is ours. It takes the candidate whose weaker effect is the largest: the fall of
    the refusal score under ablation or its rise under addition, each from the unedited model. A
    direction whose ablation merely damages the model does not raise refusal when it is added, and
    loses. The last fifth of the layers is never chosen.

    >>> from refusal_lens.selection import Candidate
    >>> from refusal_lens.records import Estimate
    >>> low, high, kl = (Estimate(v, v, v, 9, "mean", 0.0) for v in (-2.0, 3.0, 0.01))
    >>> weak, strong = Candidate(1, -1, kl, kl, kl), Candidate(2, -1, low, high, kl)
    >>> select([weak, strong], n_layers=5).choice.layer
    2

    Raises:
        ValueError: every candidate is undefined or in the last fifth of the layers.
    """
    rows = [
        (c.layer, value_or_nan(c.ablation), value_or_nan(c.addition), value_or_nan(c.kl))
        for c in candidates
    ]
    if survivors := passing(rows, n_layers):
        return Selection(tuple(candidates), survivors, survivors[0], None)
    limit = first_late_layer(n_layers)
    effects = {i: _weaker_effect(c) for i, c in enumerate(candidates) if c.layer < limit}
    defined = [i for i, effect in effects.items() if not math.isnan(effect)]
    ordered = tuple(sorted(defined, key=lambda i: -effects[i]))
    if not ordered:
        raise ValueError("every candidate is undefined or in the last fifth of the layers")
    relaxed = (
        f"no candidate kept KL within {KL_LIMIT} and induced refusal; taken is the one whose "
        "weaker effect, of ablation and of addition, is the largest"
    )
    return Selection(tuple(candidates), ordered, ordered[0], relaxed)


def eligible_layers(n_layers: int) -> range:
    """Layers that can be chosen: without layer 0, whose template tokens hold nothing yet, and
    without the last fifth.

    >>> list(eligible_layers(5))
    [1, 2, 3]
    """
    return range(1, max(2, first_late_layer(n_layers)))


def first_late_layer(n_layers: int) -> int:
    """The first layer of the last fifth."""
    return int(n_layers * (1 - LAYERS_LEFT_OUT))


def _weaker_effect(c: Candidate) -> float:
    """The smaller of the fall under ablation and the rise under addition, in nats."""
    fall = _control(c.ablation) - value_or_nan(c.ablation)
    rise = value_or_nan(c.addition) - _control(c.addition)
    return math.nan if math.isnan(fall) or math.isnan(rise) else min(fall, rise)


def score_candidates(
    model: LensModel,
    directions: Sequence[Direction],
    trust: ScoreTrust,
    *,
    harmful: PromptSet,
    harmless: PromptSet,
    progress: Progress = NO_PROGRESS,
) -> tuple[Candidate, ...]:
    """The three scores of each direction, fitted at the input of its own layer.

    Passes under an addition begin at its layer (`LensModel.sweeping`).

    >>> test = prompts.only(split="test")
    >>> sides = {"harmful": test.only(label="refuse"), "harmless": test.only(label="comply")}
    >>> only_token = rl.judges.ScoreTrust((73,), ("I",), {}, {}, {}, {}, {})
    >>> candidates = score_candidates(model, [direction], only_token, **sides)
    >>> candidates[0].layer, candidates[0].kl.n
    (2, 6)
    """
    directions = several_directions(directions)
    with model.sweeping([d.site.layer for d in directions]):
        scores = CandidateScores.against_unedited(model, trust, harmful, harmless)
        candidates: list[Candidate] = []
        for d in directions:
            ablation, addition, kl = scores.ablation(d), scores.addition(d), scores.divergence(d)
            candidates.append(Candidate(d.site.layer, d.offset, ablation, addition, kl))
            progress(1)
    return tuple(candidates)


def value_or_nan(estimate: Estimate) -> float:
    """The estimate's value, NaN where it is undefined."""
    return math.nan if estimate.value is None else estimate.value


def _control(estimate: Estimate) -> float:
    return math.nan if estimate.control is None else estimate.control

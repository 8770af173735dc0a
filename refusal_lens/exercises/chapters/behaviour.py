# pyright: reportUnknownLambdaType=false
"""Chapter 7: what was asked against what the model did, and a score that needs no generation."""

import torch
from torch import Tensor

from refusal_lens.exercises.exercise import Case, Exercise, Mistake
from refusal_lens.exercises.registry import Chapter
from refusal_lens.exercises.tiny import numbers


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm()


def _between(resid: Tensor, high: Tensor, low: Tensor) -> Tensor:
    """The difference of the means of two groups of rows."""
    return resid[high].mean(0) - resid[low].mean(0)


_HARMFUL = torch.tensor([1, 1, 1, 1, 1, 1, 0, 0, 0, 0]).bool()
_REFUSED = torch.tensor([1, 1, 1, 1, 0, 0, 1, 0, 0, 0]).bool()
_RESID = numbers(10, 6) + 2 * _HARMFUL[:, None] + 3 * _REFUSED[:, None] * numbers(6, seed=1)
_SAFE = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1]).bool()


def _cells(harmful: Tensor, refused: Tensor) -> Tensor:
    return torch.stack(
        [torch.stack([(h & r).sum() for r in (refused, ~refused)]) for h in (harmful, ~harmful)]
    )


def _four_cells(harmful: Tensor, refused: Tensor) -> list[list[int]]:
    return _cells(harmful, refused).tolist()


FOUR_CELLS = Exercise(
    name="four_cells",
    solution=_four_cells,
    gives="the counts [[harmful refused, harmful answered], [benign refused, benign answered]]",
    cases=(
        Case("ten prompts", (_HARMFUL, _REFUSED)),
        Case("a model that refuses nothing", (_HARMFUL, torch.zeros(10).bool())),
        Case("another ten prompts", (_REFUSED, ~_HARMFUL)),
    ),
    mistakes=(
        Mistake(
            "The table is transposed: rows are harmful and benign, columns refused and answered.",
            lambda harmful, refused: _cells(harmful, refused).T,
        ),
        Mistake(
            "The order is turned: False sorts before True, so that benign comes first and answered "
            "comes first.",
            lambda harmful, refused: _cells(harmful, refused).flip(0, 1),
        ),
        Mistake(
            "These are shares. Counts say whether a cell has enough prompts to fit anything.",
            lambda h, r: _cells(h, r) / len(h),
        ),
        Mistake(
            "These are shares of each row. Counts say whether a cell has enough prompts to fit "
            "anything.",
            lambda h, r: _cells(h, r) / _cells(h, r).sum(1, keepdim=True),
        ),
        Mistake(
            "These are the margins: how many were harmful and benign, refused and answered. Count "
            "the combinations.",
            lambda h, r: torch.stack(
                [torch.stack([h.sum(), (~h).sum()]), torch.stack([r.sum(), (~r).sum()])]
            ),
        ),
    ),
)


def _behaviour_direction(resid: Tensor, harmful: Tensor, refused: Tensor) -> Tensor:
    return _unit(_between(resid, harmful & refused, ~harmful & ~refused))


BEHAVIOUR_DIRECTION = Exercise(
    name="behaviour_direction",
    solution=_behaviour_direction,
    gives="the unit vector from benign, answered prompts to harmful, refused ones",
    cases=(
        Case("ten prompts", (_RESID, _HARMFUL, _REFUSED)),
        Case("other residuals", (numbers(10, 6, seed=4), _HARMFUL, _REFUSED)),
    ),
    mistakes=(
        Mistake(
            "This uses the intended label only: harmful minus benign, whatever the model did. It "
            "is about content.",
            lambda x, h, r: _unit(_between(x, h, ~h)),
        ),
        Mistake(
            "This uses only what the model did: refused minus answered. Benign prompts that were "
            "refused and harmful ones that were answered have to be left out.",
            lambda x, h, r: _unit(_between(x, r, ~r)),
        ),
        Mistake(
            "The sign is turned: positive is towards refusal.",
            lambda x, h, r: -_behaviour_direction(x, h, r),
        ),
        Mistake(
            "The length is not 1: normalise the difference.",
            lambda x, h, r: _between(x, h & r, ~h & ~r),
        ),
        Mistake(
            "The second group is all that is not (harmful and refused), and holds harmful prompts "
            "that were answered. `~(a & b)` is not `~a & ~b`.",
            lambda x, h, r: _unit(_between(x, h & r, ~(h & r))),
        ),
        Mistake(
            "Both groups are harmful: this is refused minus answered within the harmful prompts, "
            "which is the next question.",
            lambda x, h, r: _unit(_between(x, h & r, h & ~r)),
        ),
    ),
)


def _within_direction(resid: Tensor, harmful: Tensor, refused: Tensor) -> Tensor:
    parts = [_between(resid, h & refused, h & ~refused) for h in (harmful, ~harmful)]
    return _unit(parts[0] + parts[1])


def _weighted(resid: Tensor, harmful: Tensor, refused: Tensor) -> Tensor:
    """Each side's difference, weighted by its number of prompts."""
    parts = [h.sum() * _between(resid, h & refused, h & ~refused) for h in (harmful, ~harmful)]
    return _unit(parts[0] + parts[1])


WITHIN_DIRECTION = Exercise(
    name="within_direction",
    solution=_within_direction,
    gives="the unit vector of refused minus answered, taken within harmful and within benign "
    "prompts and averaged with equal weight",
    cases=(
        Case("ten prompts", (_RESID, _HARMFUL, _REFUSED)),
        Case(
            "other residuals",
            (numbers(11, 6, seed=5), _SAFE, torch.tensor([1, 0] * 5 + [1]).bool()),
        ),
    ),
    mistakes=(
        Mistake(
            "All prompts are pooled. Refused prompts are mostly harmful ones, so that this "
            "difference is about harm, too. Compare within each side first.",
            lambda x, h, r: _unit(_between(x, r, ~r)),
        ),
        Mistake(
            "Only harmful prompts are used. The benign ones that were refused say as much about "
            "refusing.",
            lambda x, h, r: _unit(_between(x, h & r, h & ~r)),
        ),
        Mistake(
            "The sides are weighted by their numbers of prompts. Equal weights were asked for.",
            lambda x, h, r: _weighted(x, h, r),
        ),
        Mistake(
            "Each side was normalised before the mean. A side with a small difference, mostly "
            "noise, then counts as much as the other; normalise once, at the end.",
            lambda x, h, r: _unit(
                _unit(_between(x, h & r, h & ~r)) + _unit(_between(x, ~h & r, ~h & ~r))
            ),
        ),
        Mistake(
            "The length is not 1: normalise the mean of the two differences.",
            lambda x, h, r: (_between(x, h & r, h & ~r) + _between(x, ~h & r, ~h & ~r)) / 2,
        ),
        Mistake(
            "Only benign prompts are used. The harmful ones that were answered say as much about "
            "refusing.",
            lambda x, h, r: _unit(_between(x, ~h & r, ~h & ~r)),
        ),
        Mistake(
            "The sign is turned: refused minus answered.",
            lambda x, h, r: -_within_direction(x, h, r),
        ),
        Mistake(
            "The two sides are subtracted: this is how the differences differ (an interaction).",
            lambda x, h, r: _unit(_between(x, h & r, h & ~r) - _between(x, ~h & r, ~h & ~r)),
        ),
    ),
)


def _refusal_score(logits: Tensor, refusal_tokens: list[int]) -> Tensor:
    p = logits.softmax(-1)[:, refusal_tokens].sum(-1)
    return p.log() - (1 - p).log()


REFUSAL_SCORE = Exercise(
    name="refusal_score",
    solution=_refusal_score,
    gives="a tensor [prompt]: log-odds that the next token is one of `refusal_tokens`",
    cases=(
        Case("four prompts, two refusal tokens", (2 * numbers(4, 7), [1, 4])),
        Case("one refusal token", (numbers(2, 5, seed=1), [0])),
    ),
    mistakes=(
        Mistake(
            "This is a probability. Where it is near 0 or 1, differences between prompts vanish; "
            "take log-odds, log p - log(1 - p).",
            lambda x, tokens: x.softmax(-1)[:, tokens].sum(-1),
        ),
        Mistake(
            "This is log p. Log-odds also subtract log(1 - p), so that 0 is even odds.",
            lambda x, tokens: x.softmax(-1)[:, tokens].sum(-1).log(),
        ),
        Mistake(
            "You add log-probabilities, which multiplies probabilities: as if all these tokens had "
            "to come at once. Add probabilities, then take the logarithm.",
            lambda x, tokens: (p := x.log_softmax(-1)[:, tokens].sum(-1)) - (1 - p.exp()).log(),
        ),
        Mistake(
            "You add raw logits. They have no zero point: adding a constant to all of them changes "
            "nothing in the model, but it changes this score.",
            lambda x, tokens: x[:, tokens].sum(-1),
        ),
        Mistake(
            "The softmax runs over prompts. The vocabulary is the last axis: `dim=-1`.",
            lambda x, tokens: (p := x.softmax(0)[:, tokens].sum(-1)).log() - (1 - p).log(),
        ),
        Mistake(
            "The sign is turned: positive is towards refusal.",
            lambda x, tokens: -_refusal_score(x, tokens),
        ),
        Mistake(
            "These are rows of the logits, which are prompts. Tokens are the last axis.",
            lambda x, tokens: (p := x.softmax(-1)[tokens].sum(-1)).log() - (1 - p).log(),
        ),
    ),
)

CHAPTER = Chapter(
    number=7,
    title="Harmful or refused?",
    exercises=(FOUR_CELLS, BEHAVIOUR_DIRECTION, WITHIN_DIRECTION, REFUSAL_SCORE),
)

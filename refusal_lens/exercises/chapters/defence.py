# pyright: reportUnknownLambdaType=false
"""Chapter 9: a monitor of the direction: its threshold, its reading, its alarm, its limits."""

import torch
from torch import Tensor

from refusal_lens.exercises.exercise import Case, Exercise, Mistake
from refusal_lens.exercises.registry import Chapter
from refusal_lens.exercises.tiny import numbers


def _kth(values: Tensor, rate: float) -> Tensor:
    """The smallest of the values above which at most a share `rate` of them lies."""
    return values.sort().values[len(values) - 1 - int(rate * len(values) + 1e-9)]


def _threshold(benign: Tensor, rate: float) -> Tensor:
    return _kth(benign, rate)


_BENIGN = numbers(20)
THRESHOLD = Exercise(
    name="threshold",
    solution=_threshold,
    gives="the smallest benign score above which at most a share `rate` of the benign scores lies",
    cases=(
        Case("20 scores and a rate of 0.1", (_BENIGN, 0.1)),
        Case("20 scores and a rate of 0", (_BENIGN, 0.0)),
        Case("5 scores and a rate of 0.3", (numbers(5, seed=1), 0.3)),
    ),
    mistakes=(
        Mistake(
            "`quantile` interpolates: its value lies between two scores and was never observed. "
            "Take one of the scores: sort them, and count from the top.",
            lambda benign, rate: benign.quantile(1 - rate),
        ),
        Mistake(
            "One benign score fewer than allowed lies above this. `quantile` with 'higher' gives "
            "that, and so does a rounding error in `rate * n` or in a mean of float32: count.",
            lambda benign, rate: benign.quantile(1 - rate, interpolation="higher"),
        ),
        Mistake(
            "Wrong tail: nearly all benign prompts lie above this threshold and would raise an "
            "alarm.",
            lambda benign, rate: benign.sort().values[int(rate * len(benign) + 1e-9)],
        ),
        Mistake(
            "This is the largest benign score. It allows no false alarm at all and depends on one "
            "prompt; allow the share `rate`.",
            lambda benign, rate: benign.max(),
        ),
        Mistake(
            "Off by one: one benign prompt more than allowed lies above. An alarm is a score "
            "*above* the threshold.",
            lambda benign, rate: benign.sort().values[
                max(0, len(benign) - 2 - int(rate * len(benign) + 1e-9))
            ],
        ),
        Mistake(
            "This is a mean plus standard deviations. It takes scores to be normal, which the tail "
            "of a monitor is not; count instead.",
            lambda benign, rate: benign.mean() + 2 * benign.std(),
        ),
    ),
)


def _real(coordinate: Tensor, lengths: Tensor) -> Tensor:
    """Which positions are tokens and not padding."""
    return torch.arange(coordinate.shape[1]) < lengths[:, None]


def _prompt_score(coordinate: Tensor, lengths: Tensor) -> Tensor:
    return coordinate.masked_fill(~_real(coordinate, lengths), -torch.inf).amax(1)


_COORDINATE = torch.tensor(
    [[0.5, 2.0, 1.0, 9.0, 9.0], [-3.0, -1.0, -2.0, -4.0, 0.0], [1.0, 0.0, 3.0, 2.0, 2.5]]
)
_LENGTHS = torch.tensor([3, 4, 5])
PROMPT_SCORE = Exercise(
    name="prompt_score",
    solution=_prompt_score,
    gives="a tensor [prompt]: the largest coordinate among the real tokens of each prompt",
    cases=(
        Case("prompts of 3, 4 and 5 tokens, padded on the right", (_COORDINATE, _LENGTHS)),
        Case("one prompt of two tokens", (torch.tensor([[-2.0, -1.0, 7.0]]), torch.tensor([2]))),
        Case("large coordinates", (torch.tensor([[-3e4, -2e4, 7.0, 0.0]]), torch.tensor([2]))),
    ),
    mistakes=(
        Mistake(
            "Padding is read: the largest value of a short prompt may be one of padding, where the "
            "model has not read anything.",
            lambda x, lengths: x.amax(1),
        ),
        Mistake(
            "Padding was set to 0, which is larger than the coordinates of a prompt that points "
            "away from refusal. Fill with minus infinity.",
            lambda x, lengths: (x * _real(x, lengths)).amax(1),
        ),
        Mistake(
            "The value put in place of padding is larger than some coordinates. Nothing is larger "
            "than minus infinity.",
            lambda x, lengths: x.masked_fill(~_real(x, lengths), -1e4).amax(1),
        ),
        Mistake(
            "This is the mean. A long harmless text around one request brings a mean down; the "
            "largest coordinate stays.",
            lambda x, lengths: (x * _real(x, lengths)).sum(1) / lengths,
        ),
        Mistake(
            "This reads the last real token only. The question was about the whole prompt.",
            lambda x, lengths: x[torch.arange(len(lengths)), lengths - 1],
        ),
        Mistake(
            "This is the position of the largest coordinate, and not its value.",
            lambda x, lengths: x.masked_fill(~_real(x, lengths), -torch.inf).argmax(1),
        ),
        Mistake(
            "The last real token was left out: a prompt of n tokens has the indices 0 to n - 1, "
            "and `[:n]` is all of them.",
            lambda x, lengths: _prompt_score(x, lengths - 1),
        ),
        Mistake(
            "Wrong axis: this is the largest value at each position, over prompts.",
            lambda x, lengths: x.amax(0),
        ),
    ),
)


def _first_alarm(coordinate: Tensor, threshold: float) -> int | None:
    above = (coordinate > threshold).nonzero()
    return int(above[0]) if len(above) else None


_GROWING = torch.tensor([0.1, 0.4, 1.2, 0.8, 2.0])
FIRST_ALARM = Exercise(
    name="first_alarm",
    solution=_first_alarm,
    gives="the index of the first token whose coordinate exceeds the threshold, None if none does",
    cases=(
        Case("an alarm half-way", (_GROWING, 1.0)),
        Case("no alarm", (_GROWING, 3.0)),
        Case("an alarm at the first token", (_GROWING.flip(0), 1.0)),
        Case("a coordinate equal to the threshold", (torch.tensor([1.0, 2.0, 1.0]), 1.0)),
    ),
    mistakes=(
        Mistake(
            "`argmax` of a row without True is 0: a prompt that raises no alarm seems to raise it "
            "at the first token. Return None there.",
            lambda x, t: int((x > t).int().argmax()),
        ),
        Mistake(
            "This is where the coordinate is largest. The alarm comes at the first token above the "
            "threshold.",
            lambda x, t: int(x.argmax()) if bool((x > t).any()) else None,
        ),
        Mistake(
            "This is the last token above the threshold.",
            lambda x, t: int((x > t).nonzero()[-1]) if bool((x > t).any()) else None,
        ),
        Mistake(
            "A coordinate equal to the threshold raises no alarm: the threshold is itself a benign "
            "score. Use `>`.",
            lambda x, t: int((x >= t).nonzero()[0]) if bool((x >= t).any()) else None,
        ),
        Mistake(
            "Off by one: positions count from 0.",
            lambda x, t: None if (i := _first_alarm(x, t)) is None else i + 1,
        ),
        Mistake(
            "Where nothing exceeds the threshold there is no first token: return None before you "
            "index.",
            lambda x, t: int((x > t).nonzero()[0]),
        ),
    ),
)


def _above(scores: Tensor, threshold: Tensor) -> Tensor:
    return (scores > threshold).double().mean()


def _detected(
    benign: Tensor, harmful: Tensor, disguised: Tensor, rate: float
) -> tuple[Tensor, ...]:
    limit = _kth(benign, rate)
    return _above(harmful, limit), _above(disguised, limit)


_HARMFUL, _DISGUISED = numbers(12, seed=2) + 2, numbers(12, seed=3) + 0.7
DETECTED = Exercise(
    name="detected",
    solution=_detected,
    gives="(share of harmful, share of disguised prompts above the threshold of the benign ones)",
    cases=(
        Case("20 benign, 12 harmful and 12 disguised", (_BENIGN, _HARMFUL, _DISGUISED, 0.1)),
        Case("no false alarm allowed", (numbers(10, seed=4), _HARMFUL, _DISGUISED, 0.0)),
    ),
    mistakes=(
        Mistake(
            "A threshold was chosen anew on each group of prompts. It is fixed once, on benign "
            "ones; whoever disguises a prompt does not get it adjusted.",
            lambda b, h, d, rate: (_above(h, _kth(h, rate)), _above(d, _kth(d, rate))),
        ),
        Mistake(
            "The threshold was chosen on the harmful prompts, so that the share of harmful ones "
            "above it is what was asked for, by construction. Choose it on benign ones.",
            lambda b, h, d, rate: (_above(h, _kth(h, rate)), _above(d, _kth(h, rate))),
        ),
        Mistake(
            "These are the shares that are missed. Detected are those above the threshold.",
            lambda b, h, d, rate: tuple(1 - x for x in _detected(b, h, d, rate)),
        ),
        Mistake(
            "The threshold was chosen on benign and harmful prompts together: the more harmful "
            "prompts there are, the higher it gets.",
            lambda b, h, d, rate: (
                _above(h, _kth(torch.cat([b, h]), rate)),
                _above(d, _kth(torch.cat([b, h]), rate)),
            ),
        ),
        Mistake(
            "The two shares are in the wrong order: harmful first, disguised second.",
            lambda b, h, d, rate: _detected(b, h, d, rate)[::-1],
        ),
        Mistake(
            "These are numbers of prompts. Divide by how many there are of each.",
            lambda b, h, d, rate: ((h > _kth(b, rate)).sum(), (d > _kth(b, rate)).sum()),
        ),
    ),
)

CHAPTER = Chapter(
    number=9,
    title="Defence",
    exercises=(THRESHOLD, PROMPT_SCORE, FIRST_ALARM, DETECTED),
)

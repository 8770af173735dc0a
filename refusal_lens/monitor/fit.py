"""`fit_monitor`: from a model and prompts to a calibrated `Monitor`."""

from dataclasses import dataclass
from typing import Final, final

import torch

from refusal_lens.arguments import one
from refusal_lens.directions import Direction, DirectionSet
from refusal_lens.directions.mean_difference import fit_within_categories
from refusal_lens.errors import InputError
from refusal_lens.interventions import Ablate
from refusal_lens.judges import Judge
from refusal_lens.judges.base import judge_all
from refusal_lens.judges.coherence import sense_checked
from refusal_lens.model import LensModel
from refusal_lens.monitor.conformal import (
    calibrated_rate,
    check_calibration,
    check_rate,
    conformal_threshold,
)
from refusal_lens.monitor.detectors import fit_scoring
from refusal_lens.monitor.monitor import Monitor
from refusal_lens.monitor.reading import Readings, read_streams
from refusal_lens.monitor.scoring import DETECTORS, Features, Scoring, highest
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet, labelled
from refusal_lens.prompts.repeats import check_splits_apart, once_each
from refusal_lens.sites import Site

EARLY: Final = (1 / 4, 3 / 8, 1 / 2)
LATE: Final = (5 / 8, 3 / 4, 7 / 8, 1.0)
INTENDED: Final = "intended labels"
_SPLITS: Final = ("train", "val")


@final
@dataclass(frozen=True)
class MonitorSettings:
    """How a monitor is fitted.

    Attributes:
        tokens: Passes that it reads of an answer: the prompt, and one answer token fewer.
        alpha: Bound on the rate of false alarms over whole answers.
        early: Layers at which it reads what is asked; by default at 1/4, 3/8 and 1/2 of the depth.
        late: Layers at which it reads what comes of it; by default at 5/8, 3/4, 7/8 and the last.
        layer: Layer of the direction whose ablation shows what suppression looks like; by default
            the second of `late`.

    >>> MonitorSettings(alpha=0.1).places(24)
    ((6, 9, 12), (15, 18, 21, 23))

    Raises:
        InputError: fewer than one token, a rate that is not between 0 and 1, or layers out of
            order.
    """

    tokens: int = 16
    alpha: float = 0.05
    early: tuple[int, ...] | None = None
    late: tuple[int, ...] | None = None
    layer: int | None = None

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InputError(f"a monitor that reads {self.tokens} tokens; give 1 or more")
        check_rate(self.alpha)

    def places(self, n_layers: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The early and the late layers in a model of so many blocks.

        >>> rl.MonitorSettings(early=(4, 8)).places(24)
        ((4, 8), (15, 18, 21, 23))

        Raises:
            InputError: no early or no late layer, or layers out of order.
        """
        early, late = (
            tuple(sorted({min(n_layers - 1, max(1, round(s * n_layers))) for s in shares}))
            for shares in (EARLY, LATE)
        )
        late = late if self.late is None else self.late
        early = tuple(e for e in early if e < late[0]) if self.early is None else self.early
        layers = (*early, *late)
        if not early or not late or list(layers) != sorted(set(layers)) or layers[0] < 0:
            raise InputError(
                f"early layers {early} and late layers {late}; expected one or more of each, in "
                "ascending order, every early one below every late one"
            )
        return early, late

    def edited_layer(self, n_layers: int) -> int:
        """The layer whose direction is ablated to show what suppression looks like.

        >>> rl.MonitorSettings().edited_layer(24)
        18
        """
        late = self.places(n_layers)[1]
        return late[min(1, len(late) - 1)] if self.layer is None else self.layer


def fit_monitor(
    model: LensModel,
    prompts: PromptSet,
    *,
    directions: DirectionSet | None = None,
    judge: Judge | None = None,
    settings: MonitorSettings = MonitorSettings(),
    progress: Progress = NO_PROGRESS,
) -> Monitor:
    """A monitor of this model, fitted on the split "train" and calibrated on "val".

    Without these two splits all prompts but those of "test" are dealt out to them, pairs whole;
    "test" is never read. Of prompts that say the same the first alone is read, since their scores
    are one score and not several. `directions` is a set of one category at every layer that is
    read, by default the mean difference within categories of the fitting prompts. With a `judge`
    the prompts that should be refused are those that the model did refuse; without one they go by
    their labels. Edits that are on belong to what is taken for unedited. `progress` counts the
    prompts of both splits that are read.

    Suppressed examples are made by the project's own edit: the direction of one layer is ablated
    everywhere while the model answers those prompts again. Only the logistic detector sees them.

    >>> few = rl.MonitorSettings(tokens=2, alpha=0.2)
    >>> texts = [f"Sell {i}?" for i in range(40)], [f"Say {i}." for i in range(40)]
    >>> rl.fit_monitor(model, rl.PromptSet.from_texts(*texts), settings=few).tokens
    2

    Raises:
        InputError: too few prompts, too few that are refused, a text that stands in both of two
            given splits, layers that the model does not have, or a direction that is undefined at
            one of them.
    """
    early, late = _layers(model, settings)
    dealt = _dealt(labelled(prompts))
    train, val = (PromptSet(once_each(part)) for part in dealt)
    check_calibration(len(val), settings.alpha, len(DETECTORS))
    if directions is None:
        directions = fit_within_categories(model.residual_stats(dealt[0], offsets=(-1,)))
    one(directions, DirectionSet, what="directions", write="fit_monitor(model, prompts)")
    places = [_direction(directions, layer) for layer in (*early, *late)]
    sites, vectors = tuple(d.site for d in places), torch.stack([d.vector for d in places])

    def read(chosen: PromptSet, tick: Progress = progress) -> Readings:
        return read_streams(model, chosen, sites, vectors, tokens=settings.tokens, progress=tick)

    unedited = read(train)
    rows = expected_refusals(model, train, unedited, judge)
    ablated = Ablate(_direction(directions, settings.edited_layer(model.n_layers)))
    with model.editing(ablated):
        suppressed = read(PromptSet(tuple(train.prompts[row] for row in rows)), NO_PROGRESS)
    readings = (unedited, suppressed, read(val))
    fitted, thresholds = _fitted(len(early), settings.alpha, readings, rows)
    return Monitor(
        sites=sites,
        n_early=len(early),
        vectors=vectors,
        **vars(fitted),
        thresholds=thresholds,
        alpha=settings.alpha,
        calibrated=calibrated_rate(len(val), settings.alpha / len(DETECTORS)),
        counts={"unedited": len(train), "suppressed": len(rows), "calibration": len(val)},
        judge=INTENDED if judge is None else sense_checked(judge).name,
        provenance=model.provenance(train + val),
    )


def _fitted(
    n_early: int,
    alpha: float,
    readings: tuple[Readings, Readings, Readings],
    rows: list[int],
) -> tuple[Scoring, tuple[float, float]]:
    """Both detectors and their thresholds, of unedited, suppressed and calibrating readings."""
    unedited, suppressed, calibrating = (
        Features.of(r.projections, r.there, n_early) for r in readings
    )
    scoring = fit_scoring(unedited, suppressed, rows)
    top = highest(scoring.scores(calibrating))
    share = alpha / len(DETECTORS)
    first, second = (conformal_threshold(column, share) for column in top.T.tolist())
    return scoring, (first, second)


def expected_refusals(
    model: LensModel, prompts: PromptSet, readings: Readings, judge: Judge | None
) -> list[int]:
    """Rows of the prompts that should be refused and, where a judge reads, that are refused."""
    refuse = [i for i, p in enumerate(prompts) if p.label == "refuse"]
    if judge is None:
        return refuse
    verdicts = refused_rows(model, prompts, readings, judge)
    return [i for i in refuse if verdicts[i]]


def refused_rows(
    model: LensModel, prompts: PromptSet, readings: Readings, judge: Judge
) -> list[bool | None]:
    """Whether each answer refuses; None where that is unclear."""
    answers = [model.chat.answer(ids) for ids in readings.answers]
    asked = [(p.text, answer) for p, answer in zip(prompts, answers, strict=True)]
    verdicts = judge_all(sense_checked(judge), asked)
    return [None if v.outcome == "unclear" else v.outcome == "refused" for v in verdicts]


def _dealt(prompts: PromptSet) -> tuple[PromptSet, PromptSet]:
    if set(_SPLITS) <= set(prompts.splits):
        check_splits_apart(prompts.only(split=_SPLITS))
        return prompts.only(split="train"), prompts.only(split="val")
    rest = PromptSet(tuple(p for p in prompts if p.split != "test"))
    dealt = rest.resplit({"train": 0.5, "val": 0.5})
    if set(dealt.splits) != set(_SPLITS):
        raise InputError(
            f"{len(rest)} prompts outside the split 'test'; a monitor is fitted on some and "
            "calibrated on others: give more"
        )
    return dealt.only(split="train"), dealt.only(split="val")


def _layers(model: LensModel, settings: MonitorSettings) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The early and the late layers, all of them in this model."""
    early, late = settings.places(model.n_layers)
    if late[-1] >= model.n_layers:
        raise InputError(
            f"layer {late[-1]} is beyond this model: its layers are 0 to {model.n_layers - 1}"
        )
    return early, late


def _direction(directions: DirectionSet, layer: int) -> Direction:
    if len(directions.categories) != 1:
        raise InputError(
            f"a monitor reads one direction per layer, found {list(directions.categories)}; give "
            "a set with one category, such as results.directions of the pooled direction, or none"
        )
    return directions.at_site(directions.categories[0], Site(layer), -1)

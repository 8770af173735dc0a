"""`Monitor`: both detectors with their thresholds; it watches answers and is saved as a record."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor

from refusal_lens.errors import InputError
from refusal_lens.model import Decoding, LensModel
from refusal_lens.model.generate import GREEDY
from refusal_lens.model.lens import Prompts
from refusal_lens.model.stream import stream_answers
from refusal_lens.model.transfer import warn_of_other_weights
from refusal_lens.monitor.reading import Readings, project, read_streams
from refusal_lens.monitor.scoring import DETECTORS, Features, Scoring, first_alarm
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Prompt
from refusal_lens.records import Estimate, Provenance, Record
from refusal_lens.sites import Site


@final
@dataclass(frozen=True)
class WatchedStep:
    """One answer token with what the monitor has seen before it was out.

    Attributes:
        place: How many answer tokens were out before this one.
        token: Its id; None where the answer ends instead.
        text: What it adds to the answer.
        scores: Each detector's score, in standard deviations of unedited prompts; those of the
            last pass that was read, once the monitor reads no more.
        probability: The logistic detector's calibrated probability of suppression, at even odds.
        deviations: By later layer, its projection minus the expected one, in standard deviations;
            negative: less refusal than what was asked made expected.
        flag: Whether either detector has exceeded its threshold by now; stays once it is raised.
    """

    place: int
    token: int | None
    text: str
    scores: Mapping[str, float]
    probability: float
    deviations: Mapping[int, float]
    flag: bool


@final
@dataclass(frozen=True, eq=False)
class Monitor(Record):
    """A detector of refusal that was to be expected and is suppressed. Made by `fit_monitor`.

    It reads projections on the refusal direction of several layers (`sites`, of which the first
    `n_early` say what is asked), at the prompt's last token and at the first answer tokens, behind
    every edit that acts there. Fields of tensors are those of `Scoring`, by pass: pass 0 reads the
    prompt, pass k has read k answer tokens.

    Attributes:
        thresholds: One for each detector, each at half of `alpha`.
        alpha: Bound on the rate of false alarms over whole answers, either detector counted.
        calibrated: The rate that this calibration gives each detector, and where it may lie.
        counts: Prompts by what they served for.

    >>> watched = list(monitor.watch(model, "Should I sell my shares?", rl.Decoding(3)))
    >>> len(watched), watched[0].place, sorted(watched[0].scores)
    (3, 0, ['logistic', 'mahalanobis'])
    >>> monitor.save("monitor")
    >>> rl.Monitor.load("monitor").thresholds == monitor.thresholds
    True
    """

    SCHEMA_VERSION: ClassVar[int] = 1

    sites: tuple[Site, ...]
    n_early: int
    vectors: Float[Tensor, "site d_model"]
    coefficients: Float[Tensor, "pass late coefficient"]
    precision: Float[Tensor, "pass late late"]
    spread: Float[Tensor, "pass late"]
    weights: Float[Tensor, "pass feature"]
    bias: Float[Tensor, " pass"]
    center: Float[Tensor, "pass detector"]
    width: Float[Tensor, "pass detector"]
    thresholds: tuple[float, float]
    alpha: float
    calibrated: Estimate
    counts: dict[str, int]
    judge: str
    provenance: Provenance

    @property
    def tokens(self) -> int:
        """Passes that are read: the prompt's last token, and one answer token fewer."""
        return len(self.bias)

    @property
    def late(self) -> tuple[Site, ...]:
        """Sites whose projections are compared with what the early ones made expected."""
        return self.sites[self.n_early :]

    @property
    def scoring(self) -> Scoring:
        """The numbers of both detectors."""
        names = ("coefficients", "precision", "spread", "weights", "bias", "center", "width")
        return Scoring(**{name: getattr(self, name) for name in names})

    def features(self, readings: Readings) -> Features:
        """What the detectors see of readings.

        >>> readings = monitor.read(model, ["Should I sell my shares?", "Why?"])
        >>> monitor.features(readings).y.shape
        torch.Size([2, 2, 1])
        """
        return Features.of(readings.projections, readings.there, self.n_early)

    def scores(self, readings: Readings) -> Float[Tensor, "prompt pass detector"]:
        """Each detector's score by pass, in the order of `DETECTORS`; NaN past an answer's end.

        >>> readings = monitor.read(model, ["Should I sell my shares?", "Why?"])
        >>> monitor.scores(readings).shape
        torch.Size([2, 2, 2])
        """
        return self.scoring.scores(self.features(readings))

    def alarms(self, readings: Readings) -> list[int | None]:
        """Answer tokens that were out when the alarm was raised; None where it never was.

        >>> readings = monitor.read(model, ["Should I sell my shares?", "Why?"])
        >>> len(monitor.alarms(readings))
        2
        """
        return first_alarm(self.scores(readings), _limits(self))

    def read(
        self, model: LensModel, prompts: Prompts, progress: Progress = NO_PROGRESS
    ) -> Readings:
        """The projections that the monitor needs, of many prompts in batches, and their answers.

        With the edits that are on: hooks of the reader come behind those of every edit.

        >>> readings = monitor.read(model, ["Should I sell my shares?", "Why?"])
        >>> len(monitor.alarms(readings))
        2

        Raises:
            InputError: a model with other layers or another width.
        """
        self._check(model)
        where = (self.sites, self.vectors)
        return read_streams(model, prompts, *where, tokens=self.tokens, progress=progress)

    def watch(
        self, model: LensModel, prompt: str | Prompt, decoding: Decoding = GREEDY
    ) -> Generator[WatchedStep]:
        """The answer token by token, each with scores and flag: for a loop around generation.

        The tokens are those of `model.generate_ids`. A flag comes before the token that it stands
        with. Edits may be on around the loop: at each site the monitor reads what they left there.

        >>> for step in monitor.watch(model, "Should I sell my shares?", rl.Decoding(3)):
        ...     if step.flag:
        ...         break

        Raises:
            InputError: a model with other layers or another width.
        """
        self._check(model)
        return self._watch(model, prompt, decoding)

    def _watch(
        self, model: LensModel, prompt: str | Prompt, decoding: Decoding
    ) -> Generator[WatchedStep]:
        feed = model.feed([prompt])
        with torch.inference_mode():
            batch = feed.batch([0])
        ids: list[int] = []
        shown = model.chat.answer(())
        seen = _Seen(self)
        where = (self.sites, self.tokens)
        for place, step in enumerate(stream_answers(feed, batch, model.stops, decoding, *where)):
            if step.resid is not None:
                seen.add(project(step.resid, self.vectors)[0])
            (token,) = step.tokens
            ids += [] if token is None else [token]
            text = model.chat.answer(tuple(ids))
            yield seen.step(place, token, text[len(shown) :])
            shown = text

    def _check(self, model: LensModel) -> None:
        width, deepest = self.vectors.shape[1], max(site.layer for site in self.sites)
        if width != model.d_model or deepest >= model.n_layers:
            raise InputError(
                f"the monitor reads layers up to {deepest} of a stream {width} wide; {model.name} "
                f"has {model.n_layers} layers, {model.d_model} wide: fit one with fit_monitor"
            )
        warn_of_other_weights("monitor", self.provenance, model.provenance())


def _limits(monitor: Monitor) -> Float[Tensor, " detector"]:
    """The thresholds as precise as scores are: one that equals its threshold is no alarm."""
    return torch.tensor(monitor.thresholds, dtype=torch.float64)


@final
class _Seen:
    """Scores of one answer as it grows."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._scoring = monitor.scoring
        self._thresholds = _limits(monitor)
        self._x = torch.zeros(1, monitor.n_early, dtype=torch.float64)
        self._total = torch.zeros(len(monitor.late), dtype=torch.float64)
        self._pass = 0
        self._flag = False
        self._scores: dict[str, float] = {}
        self._deviations: dict[int, float] = {}
        self._probability = 0.0

    def add(self, projections: Float[Tensor, " site"]) -> None:
        """Take up the projections of one more pass."""
        late = projections[self._monitor.n_early :]
        if self._pass == 0:
            self._x, mean = projections[None, : self._monitor.n_early], late
        else:
            self._total += late
            mean = self._total / self._pass
        there = torch.ones(1, 1, dtype=torch.bool)
        features = Features(self._x, mean[None, None], there)
        here = self._scoring.passes(self._pass, self._pass + 1)
        scores = here.scores(features)[0, 0]
        self._scores = dict(zip(DETECTORS, scores.tolist(), strict=True))
        self._probability = float(here.logits(features)[0, 0].sigmoid())
        layers = [site.layer for site in self._monitor.late]
        self._deviations = dict(zip(layers, here.deviations(features)[0, 0].tolist(), strict=True))
        self._flag = self._flag or bool((scores > self._thresholds).any())
        self._pass += 1

    def step(self, place: int, token: int | None, text: str) -> WatchedStep:
        """What has been seen by now, beside the token that comes next."""
        what = (self._scores, self._probability, self._deviations, self._flag)
        return WatchedStep(place, token, text, *what)

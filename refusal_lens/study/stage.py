"""What a stage of a study is, what all stages work with, and the layer of a run."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, final

from refusal_lens.directions import Direction, DirectionSet, Estimator, make_estimator
from refusal_lens.geometry import Geometry
from refusal_lens.judges import Judge
from refusal_lens.model import LensModel
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import Label, PromptSet
from refusal_lens.records import Record
from refusal_lens.residuals import Residuals, ResidualStats
from refusal_lens.selection import (
    Selection,
)
from refusal_lens.sites import Site
from refusal_lens.study.fitted import Gap as Gap
from refusal_lens.study.fitted import at_layer, category_set
from refusal_lens.study.question import Study
from refusal_lens.study.results import Results

Records = dict[str, Record]
_BYTES_A_VALUE: Final = 4
_MOST_KEPT: Final = 1 << 30  # bytes
TOKEN: Final = 0.1  # a generated token costs about this share of a forward pass over one prompt


@final
@dataclass(eq=False)
class Bench:
    """What every stage works with."""

    study: Study
    model: LensModel
    prompts: PromptSet
    results: Results
    _resid: Residuals | None = None
    _post: Residuals | None = None

    def split(self, name: str, pairs: int) -> PromptSet:
        """The first pairs of each category in a split."""
        return self.prompts.only(split=name).first(pairs)

    @cached_property
    def judge(self) -> Judge:
        """Who reads answers: the study's choice, made once; set it before it is first asked for."""
        return self.study.make_judge(self.model.placement)

    @cached_property
    def train(self) -> PromptSet:
        """The pairs that directions are fitted on."""
        return self.split("train", self.study.sizes.fit_pairs)

    @property
    def estimator(self) -> Estimator:
        """What fits directions in this study."""
        return make_estimator(self.study.estimator)

    def fit(self, data: Residuals | ResidualStats) -> DirectionSet:
        """Directions of each category by the study's estimator."""
        return self.estimator(data)

    def fitting_data(
        self, model: LensModel, prompts: PromptSet, *, sites: Sequence[Site], offsets: Sequence[int]
    ) -> Residuals | ResidualStats:
        """What the estimator fits from: sums of the prompts' residuals where these suffice."""
        read = model.residual_stats if self.estimator.from_sums else model.residuals
        return read(prompts, sites=sites, offsets=offsets)

    def post_resid(self, tick: Progress = NO_PROGRESS) -> Residuals | None:
        """Residuals of the fitting prompts at every block's input and offset of the template.

        Read once and kept, since several stages ask for them; None where they take too much memory.
        """
        if not self.keeps_post:
            return None
        if self._post is None:
            self._post = self.model.residuals(self.train, offsets="post", progress=tick)
        return self._post

    @property
    def keeps_post(self) -> bool:
        """Whether the residuals of `post_resid` are few enough to be kept."""
        model = self.model
        values = len(self.train) * model.chat.n_post * model.n_layers * model.d_model
        return _BYTES_A_VALUE * values <= _MOST_KEPT

    def train_resid(self, tick: Progress = NO_PROGRESS) -> Residuals:
        """Residuals of the fitting prompts' last token at every block's input, read once."""
        if (post := self.post_resid(tick)) is not None:
            return post.select(offsets=(-1,))
        if self._resid is None:
            self._resid = self.model.residuals(self.train, progress=tick)
        return self._resid

    def spread(self, prompts: PromptSet, label: Label, n: int) -> PromptSet:
        """`n` prompts of one side, taken in turn from each category."""
        rows = {
            c: [p for p in prompts if p.category == c and p.label == label]
            for c in prompts.categories
        }
        turns = [p for i in range(n) for own in rows.values() for p in own[i : i + 1]]
        return PromptSet(tuple(turns[:n]))

    def chosen_layer(self) -> int:
        """The selected layer; without a selection, the most reliable one of the pooled set."""
        return chosen_layer(self.results)


def chosen_layer(results: Results) -> int:
    """The selected layer; without a selection, the most reliable one of the pooled set.

    Raises:
        InputError: the run has neither a selection nor a geometry.
    """
    if results.has("selection", "selection"):
        return results.get("selection", "selection", Selection).choice.layer
    geometry = results.get("geometry", "intended", Geometry)
    best = int(geometry.reliability.nan_to_num(-1.0).mean(1).argmax())
    return geometry.sites[best].layer


@final
@dataclass(frozen=True)
class Stage:
    """A part of a study. `ticks` counts what its progress counts, `cost` prompt passes a tick.

    It can't run without what it `needs`; of the stages it comes `after` it takes what is there.
    `writes` names the kinds of records it makes: a new schema of one of them makes it stale, and
    so do other `sizes` than the question's own.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    writes: tuple[type[Any], ...]
    run: Callable[[Bench, Progress], Records]
    ticks: Callable[[Bench], int]
    cost: Callable[[Bench], float]
    after: tuple[str, ...] = ()
    sizes: dict[str, Any] = field(default_factory=dict[str, Any])

    @property
    def schemas(self) -> dict[str, int]:
        """Schema versions of the records that the stage writes."""
        return {kind.__name__: kind.SCHEMA_VERSION for kind in self.writes}


def own_directions(bench: Bench, layer: int) -> list[Direction]:
    """Each category's direction where it is defined.

    Raises:
        Gap: no category has one.
    """
    return at_layer(category_set(bench.results), layer)


def n_train(bench: Bench) -> int:
    """How many fitting prompts there are."""
    return len(bench.train)


def n_read_again(bench: Bench) -> int:
    """Fitting prompts that are read anew, because their residuals could not be kept."""
    return 1 if bench.keeps_post else len(bench.train)

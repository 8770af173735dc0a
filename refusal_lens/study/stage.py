"""What a stage of a study is, and what all stages work with."""

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeVar, cast, final

from refusal_lens.directions import Direction, DirectionSet, Estimator, make_estimator
from refusal_lens.folders import is_there
from refusal_lens.judges import Judge
from refusal_lens.judges.registry import how_it_reads
from refusal_lens.model import LensModel
from refusal_lens.model.source_digest import source_digest
from refusal_lens.progress import NO_PROGRESS, Progress
from refusal_lens.prompts import PromptSet
from refusal_lens.records import Record, digest_of
from refusal_lens.residuals import Residuals, ResidualStats
from refusal_lens.sites import Site
from refusal_lens.study.fitted import Gap as Gap
from refusal_lens.study.fitted import at_layer, category_set
from refusal_lens.study.key import Key, declare
from refusal_lens.study.outline import Outline as Outline
from refusal_lens.study.outline import Shape
from refusal_lens.study.question import Study
from refusal_lens.study.results import Results
from refusal_lens.study.sizes import StageSizes

T = TypeVar("T")
Records = dict[Key[Any], Record]
Plan = str  # the command whose plan a stage belongs to
TOKEN: Final = 0.1  # a generated token costs about this share of a forward pass over one prompt


@final
@dataclass(eq=False)
class Bench(Outline):
    """What every stage works with."""

    model: LensModel
    results: Results
    _resid: Residuals | None = field(default=None, init=False)
    _post: Residuals | None = field(default=None, init=False)
    _kept: dict[str, object] = field(default_factory=dict[str, object], init=False)

    @classmethod
    def of(cls, study: Study, model: LensModel, prompts: PromptSet, results: Results) -> "Bench":
        """The bench of a study whose model is loaded."""
        return cls(study, prompts, Shape.of(model), model, results)

    @cached_property
    def judge(self) -> Judge:
        """Who reads answers: the study's choice, made once; set it before it is first asked for."""
        return self.study.make_judge(self.model.placement)

    @cached_property
    def control_digest(self) -> str:
        """What tells a control that the study names from another one in its place."""
        control = self.study.control
        return "" if control is None else source_digest(control)

    @cached_property
    def judge_digest(self) -> str:
        """What tells files that the judge's settings name from others in their place.

        Empty where they name none on this machine.
        """
        settings = how_it_reads(self.study.judge, self.study.judge_settings)
        named = {
            key: Path(value) for key, value in settings.items() if value and isinstance(value, str)
        }
        there = {key: source_digest(path) for key, path in named.items() if is_there(path)}
        return digest_of(there) if there else ""

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

    def once(self, what: str, make: Callable[[], T]) -> T:
        """What several stages of one run need, made when it is first asked for."""
        if what not in self._kept:
            self._kept[what] = make()
        return cast(T, self._kept[what])

    def post_resid(self, tick: Progress = NO_PROGRESS) -> Residuals | None:
        """Residuals of the fitting prompts at every block's input and offset of the template.

        Read once and kept, since several stages ask for them; None where they take too much memory.
        """
        if not self.keeps_post:
            return None
        if self._post is None:
            self._post = self.model.residuals(self.train, offsets="post", progress=tick)
        return self._post

    def train_resid(self, tick: Progress = NO_PROGRESS) -> Residuals:
        """Residuals of the fitting prompts' last token at every block's input, read once.

        A run that goes on reads again what it keeps from stage to stage; that is part of no plan,
        and not counted.
        """
        if (post := self.post_resid()) is not None:
            return post.select(offsets=(-1,))
        if self._resid is None:
            self._resid = self.model.residuals(self.train, progress=tick)
        return self._resid


@final
@dataclass(frozen=True)
class Work:
    """How much a stage has to do: what its progress counts, and what each count costs.

    That is forward passes over one prompt, and tokens that are generated, at most as many.

    >>> Work(10, passes=2, tokens=20).total_passes
    40.0
    """

    ticks: int
    passes: float | int = 1
    tokens: float | int = 0

    @classmethod
    def over(cls, tasks: Sized, passes: float | int = 1, tokens: float | int = 0) -> "Work":
        """One count for each of the tasks, the very list that the stage goes through."""
        return cls(len(tasks), passes, tokens)

    def __add__(self, other: "Work") -> "Work":
        """Both, one behind the other; a count then costs what it does on average.

        >>> Work(10) + Work(30, passes=2, tokens=20)
        Work(ticks=40, passes=1.75, tokens=15.0)
        """
        ticks = self.ticks + other.ticks

        def mean(ours: float | int, theirs: float | int) -> float:
            return (self.ticks * ours + other.ticks * theirs) / max(1, ticks)

        passes = mean(self.passes, other.passes)
        return Work(ticks, passes, mean(self.tokens, other.tokens))

    @property
    def total_passes(self) -> float:
        """All of it in forward passes over one prompt, to which generated tokens are converted."""
        return self.ticks * (self.passes + TOKEN * self.tokens)


@final
@dataclass(frozen=True)
class VerdictsOf:
    """A record of read answers, and what they are answers to, for the table of all verdicts.

    With `each`, every condition is counted by itself.
    """

    answers: str
    key: Key[Any]
    each: bool = False


def always(full: bool, shown: bool) -> bool:
    """A stage of attribution that every call of it asks for."""
    del full, shown
    return True


@final
@dataclass(frozen=True)
class Stage:
    """A part of a study: what it measures, writes and needs, and how much work it is.

    It can't run without what it `needs`; of the stages it comes `after` it takes what is there.
    `writes` are the keys of its records: another schema of one of them makes it stale, and so do
    other values of the sizes that it `uses`, or other `parameters`. `place` orders stages of which
    none needs the other. `verdicts` are its records of read answers. One that `uses_control` is
    stale when other weights stand where the study's control is loaded from.

    Stages of one `family` write the same keys: one of each category, or the whole maps beside a
    few. `asked_for` says of a stage of attribution whether a call runs it: one that wants the
    `full` maps, or one where its category is the one that is `shown`.
    """

    name: str
    title: str
    run: Callable[[Bench, Progress], Records]
    work: Callable[[Outline], Work]
    writes: tuple[Key[Any], ...]
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    uses: tuple[type[StageSizes], ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    place: int = 1000
    plan: Plan = "study"
    family: str = ""
    category: str | None = None
    asked_for: Callable[[bool, bool], bool] = always
    verdicts: tuple[VerdictsOf, ...] = ()
    uses_control: bool = False

    def __post_init__(self) -> None:
        strange = [key.name for key in self.writes if key.stage != (self.family or self.name)]
        if strange:
            raise ValueError(f"stage {self.name!r} writes keys of another stage: {strange}")
        declare(self.writes)

    def work_in(self, outline: Outline) -> Work:
        """How much the stage has to do there, by the sizes that it says it `uses`."""
        with outline.using(self.uses):
            return self.work(outline)

    @property
    def schemas(self) -> dict[str, int]:
        """Schema versions of the records that the stage writes."""
        return {key.kind.__name__: key.kind.SCHEMA_VERSION for key in self.writes}

    def check_writes(self, records: Iterable[Key[Any]]) -> None:
        """Reject records that the stage does not declare.

        Raises:
            ValueError: one is not among what it `writes`.
        """
        known = {key.identity for key in self.writes}
        if strange := [key.name for key in records if key.identity not in known]:
            raise ValueError(f"stage {self.name!r} made records it does not declare: {strange}")


@final
@dataclass(frozen=True)
class PerCategory:
    """A stage of each category: `of` makes the one of the category with a number and a name."""

    of: Callable[[int, str], Stage]

    def __post_init__(self) -> None:
        self.of(0, "")  # its keys are declared, whatever the categories of a run

    @property
    def uses(self) -> tuple[type[StageSizes], ...]:
        """The sizes that each of them uses."""
        return self.of(0, "").uses


def category_directions(bench: Bench, layer: int) -> list[Direction]:
    """Each category's direction where it is defined.

    Raises:
        Gap: no category has one.
    """
    return at_layer(category_set(bench.results), layer)


def reading_again(bench: Outline) -> Work:
    """Reading the fitting prompts anew, where their residuals could not be kept; else one count,
    by `count_kept`."""
    return Work(1) if bench.keeps_post else Work.over(bench.train)


def count_kept(bench: Outline, tick: Progress) -> None:
    """Count a stage that would have read the fitting prompts anew, where they are kept."""
    if bench.keeps_post:
        tick(1)
